#pragma once

#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kvferry/cache_engine.h"
#include "runtime/cache/token_chunks.h"
#include "tests/support/engine_pair.h"
#include "workload/engine/paged_kv_cache.h"
#include "workload/oracle/kv_content.h"
#include "workload/processes/temp_dir.h"

namespace kvferry {

/// A cache engine from a configuration with peers, over an engine's pages, with an oracle.
class PeerNode {
 public:
  struct Options {
    std::string name;
    bool listens = true;
    std::vector<PeerAddress> peers = {};
    std::string push_to = "";
    int32_t num_heads = 0;                           ///< 0: the model's own
    std::shared_ptr<Transport> transport = nullptr;  ///< null: UCX
  };

  explicit PeerNode(const Options& options) {
    if (options.num_heads > 0) model_.num_heads = options.num_heads;
    pages_.emplace(PagedKVCache::create(model_, model_.preset, 1024, 3).value());
    space_.emplace(TokenChunks::create(identity(), ChunkHasherOptions(), pages_->layout()).value());
    const std::string token_file = directory_.file("token");
    std::ofstream(token_file) << "secret\n";
    CacheEngineOptions engine;
    engine.model = identity().model;
    engine.pages = pages_->layout();
    engine.config.local_cpu.pool_bytes = 64 * space_->chunk_bytes();
    engine.config.peer.name = options.name;
    if (options.listens) engine.config.peer.host = "127.0.0.1";
    engine.config.peer.token_file = token_file;
    engine.config.peer.peers = options.peers;
    engine.config.peer.push_to = options.push_to;
    engine.config.peer.timeout = std::chrono::seconds(20);
    engine.transport = options.transport;
    engine_ = CacheEngine::create(std::move(engine)).value();
  }

  CacheEngine& engine() { return *engine_; }
  PeerAddress address(const std::string& name) const {
    return {name, "127.0.0.1", engine_->peer_port()};
  }

  static constexpr int64_t kPromptTokens = 1024;  ///< four chunks
  static std::vector<uint32_t> prompt(uint32_t seed) {
    std::vector<uint32_t> tokens(kPromptTokens);
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = static_cast<uint32_t>(i * 2654435761U) ^ (seed * 40503U);
    }
    return tokens;
  }

  bool finds(const std::vector<uint32_t>& tokens) {
    return engine_->lookup(tokens).tokens == kPromptTokens;
  }

  /// Computes a prompt's KV and stores it.
  StoreResult store(const std::vector<uint32_t>& tokens) {
    const Placed placed = place(tokens);
    for (const ChunkRef& chunk : placed.chunks) {
      EXPECT_THAT(fill_chunk(pages_->layout(), placed.of(chunk), chunk.key.chunk_hash), IsOk());
    }
    StoreResult result = engine_->store({tokens, placed.slots}).wait();
    EXPECT_THAT(pages_->free(placed.blocks), IsOk());
    return result;
  }

  /// Retrieves a prompt and compares every byte with the oracle.
  RetrieveResult retrieve(const std::vector<uint32_t>& tokens) {
    const Placed placed = place(tokens);
    EXPECT_THAT(poison_slots(pages_->layout(), placed.slots), IsOk());
    RetrieveResult result = engine_->retrieve({tokens, placed.slots}).wait();
    for (const ChunkRef& chunk : placed.chunks) {
      if (chunk.token_end > result.tokens) break;
      const auto wrong =
          verify_chunk(pages_->layout(), placed.of(chunk), chunk.key.chunk_hash).value();
      EXPECT_FALSE(wrong.has_value()) << wrong->to_string();
    }
    EXPECT_THAT(pages_->free(placed.blocks), IsOk());
    return result;
  }

  /// By its name; all of it is 0 if there is none.
  SinkReport sink(const std::string& name) const {
    const CacheStats stats = engine_->stats();
    for (const SinkReport& report : stats.sinks) {
      if (report.name == name) return report;
    }
    return {};
  }

 private:
  struct Placed {
    std::vector<int64_t> blocks;
    std::vector<int64_t> slots;
    std::vector<ChunkRef> chunks;

    std::span<const int64_t> of(const ChunkRef& chunk) const {
      return std::span(slots).subspan(static_cast<size_t>(chunk.token_begin),
                                      static_cast<size_t>(chunk.num_tokens()));
    }
  };

  static CacheEngineKey identity() {
    CacheEngineKey key;
    key.model = "tiny";
    return key;
  }
  Placed place(const std::vector<uint32_t>& tokens) {
    Placed placed;
    const auto count = static_cast<int64_t>(tokens.size());
    placed.chunks = space_->split(tokens);
    placed.blocks = pages_->allocate(pages_->blocks_for(count)).value();
    placed.slots = slots_from_block_table(placed.blocks, model_.block_tokens, 0, count).value();
    return placed;
  }

  ModelShape model_ = tiny_model();
  const TempDir directory_;
  std::optional<PagedKVCache> pages_;
  std::optional<TokenChunks> space_;
  std::unique_ptr<CacheEngine> engine_;
};

}  // namespace kvferry
