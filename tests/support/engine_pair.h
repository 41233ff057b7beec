#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kvferry/make_transport.h"
#include "kvferry/transfer_engine.h"
#include "tests/support/status_matchers.h"
#include "workload/engine/prompt_provider.h"
#include "workload/oracle/kv_content.h"

namespace kvferry {

/// A model small enough for a test: 4 layers, 2 heads of 64, 16-token blocks; 2 KiB a token.
inline ModelShape tiny_model() {
  ModelShape model;
  model.name = "tiny";
  model.num_layers = 4;
  model.num_heads = 2;
  model.head_dim = 64;
  model.dtype = DType::kBF16;
  model.preset = PagePreset::kVllmNhd;
  model.block_tokens = 16;
  return model;
}

/// Two engines of one process, prefill and decode, each with its own fragmented paged cache.
class EnginePair {
 public:
  struct Options {
    std::string transport = "loopback";
    std::shared_ptr<Transport> transport_object = nullptr;  ///< in place of the one of that name
    Duration handshake_timeout = std::chrono::seconds(20);
    int64_t blocks = 512;
    size_t pool_chunks = 4;
    int64_t fragment_bytes = 128 * 1024;
    int max_refetches = 3;
    StagedFragmentHook hook = nullptr;
    Duration silence_limit = std::chrono::seconds(60);
    Duration transfer_timeout = std::chrono::seconds(60);
    size_t max_quarantined_chunks = 0;
  };

  explicit EnginePair(const Options& options) {
    transport_ = options.transport_object ? options.transport_object
                                          : make_transport(options.transport).value();
    provider.emplace(
        PromptCache(PagedKVCache::create(model, model.preset, options.blocks, 1).value()));
    decode_cache.emplace(PagedKVCache::create(model, model.preset, options.blocks, 2).value());
    prefill = make_engine("prefill", options);
    decode = make_engine("decode", options);
    prefill->serve(&*provider);
    port = prefill->listen("127.0.0.1", 0).value();
  }

  Result<std::string> connect() { return decode->connect("127.0.0.1", port); }

  std::unique_ptr<TransferEngine> make_engine(const std::string& name, const Options& options,
                                              const std::string& token = "secret") {
    TransferEngineOptions engine;
    engine.name = name;
    engine.token = token;
    engine.chunk_bytes = static_cast<size_t>(256 * model.token_bytes());
    engine.staging_chunks = options.pool_chunks;
    engine.landing_chunks = options.pool_chunks;
    engine.fragment_bytes = options.fragment_bytes;
    engine.max_refetches = options.max_refetches;
    engine.transport = transport_;
    engine.handshake_timeout = options.handshake_timeout;
    engine.staged_fragment_hook = options.hook;
    engine.silence_limit = options.silence_limit;
    engine.transfer_timeout = options.transfer_timeout;
    engine.max_quarantined_chunks = options.max_quarantined_chunks;
    return TransferEngine::create(std::move(engine)).value();
  }

  const std::shared_ptr<Transport>& transport() const { return transport_; }

  /// Computes a prompt's KV on the prefill side and returns its chunks.
  std::vector<ChunkRef> prefill_prompt(uint32_t first_token, int64_t num_tokens) {
    std::vector<uint32_t> tokens;
    for (int64_t i = 0; i < num_tokens; ++i)
      tokens.push_back(first_token + static_cast<uint32_t>(i));
    std::vector<ChunkRef> chunks = chunks_of_prompt(model, hasher, tokens);
    provider->with_cache([&](PromptCache& cache) {
      auto opened = cache.open_prompt(chunks).value();
      for (PromptChunk& chunk : opened) {
        if (chunk.is_held) continue;
        EXPECT_THAT(fill_chunk(cache.cache().layout(), chunk.slots, chunk.ref.key.chunk_hash),
                    IsOk());
        EXPECT_THAT(cache.publish(chunk), IsOk());
      }
      EXPECT_THAT(cache.close_prompt(opened), IsOk());
    });
    return chunks;
  }

  /// Fetches chunks that the decode side does not hold, waits, and returns each one's end.
  std::vector<Status> fetch(std::vector<PromptChunk>& opened, const std::string& peer = "prefill") {
    std::vector<FetchItem> items;
    std::vector<size_t> wanted;
    for (size_t i = 0; i < opened.size(); ++i) {
      if (opened[i].is_held) continue;
      EXPECT_THAT(poison_slots(decode_cache->cache().layout(), opened[i].slots), IsOk());
      items.push_back({opened[i].ref, {&decode_cache->cache().layout(), opened[i].slots}});
      wanted.push_back(i);
    }
    std::vector<Status> ends(items.size(), Status(StatusCode::kInternal, "never ended"));
    std::vector<int> times(items.size(), 0);
    std::promise<void> done;
    decode->fetch(peer, std::move(items),
                  {.on_chunk =
                       [&](size_t item, const Status& status) {
                         ends[item] = status;
                         ++times[item];
                       },
                   .on_done = [&](const FetchSummary&) { done.set_value(); }});
    done.get_future().wait();
    for (const int each : times) EXPECT_EQ(each, 1) << "a chunk ends exactly once";
    for (size_t i = 0; i < ends.size(); ++i) {
      if (!ends[i].is_ok()) continue;
      EXPECT_THAT(decode_cache->publish(opened[wanted[i]]), IsOk());
    }
    return ends;
  }

  /// Every byte of a chunk in the decode side's pages against the oracle.
  void expect_content(const PromptChunk& chunk) {
    const auto mismatch =
        verify_chunk(decode_cache->cache().layout(), chunk.slots, chunk.ref.key.chunk_hash);
    ASSERT_TRUE(mismatch.has_value());
    EXPECT_FALSE(mismatch->has_value()) << (*mismatch)->to_string();
  }

  ModelShape model = tiny_model();
  ChunkHasher hasher =
      ChunkHasher::create({.chunk_tokens = 256, .hash_partial_chunk = true}).value();
  std::optional<PromptProvider> provider;
  std::optional<PromptCache> decode_cache;
  std::unique_ptr<TransferEngine> prefill;
  std::unique_ptr<TransferEngine> decode;
  uint16_t port = 0;

 private:
  std::shared_ptr<Transport> transport_;
};

}  // namespace kvferry
