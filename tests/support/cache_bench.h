#pragma once

#include <algorithm>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backends/local_cpu/factory.h"
#include "runtime/cache/cache_core.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_work_pool.h"
#include "tests/support/engine_pair.h"
#include "tests/support/scripted_backend.h"
#include "workload/engine/paged_kv_cache.h"
#include "workload/oracle/kv_content.h"

namespace kvferry {

/// A CacheCore over local_cpu and scripted stores, with an engine's pages and an oracle for them.
class CacheBench {
 public:
  struct Options {
    bool has_memory = true;
    size_t num_stores = 1;
    size_t pool_chunks = 64;
    int64_t blocks = 4096;
    bool partial_chunks = false;
    SinkLimits sinks = {};
    CacheLimits limits = {};
    PagePreset preset = PagePreset::kVllmNhd;
  };

  explicit CacheBench(Options options) {
    model = tiny_model();
    pages.emplace(PagedKVCache::create(model, options.preset, options.blocks, 3).value());
    CacheEngineKey identity;
    identity.model = "tiny";
    ChunkHasherOptions hashing;
    hashing.hash_partial_chunk = options.partial_chunks;
    TokenChunks made = TokenChunks::create(identity, hashing, pages->layout()).value();
    space.emplace(made);
    pool = MemoryPool::create({.slot_bytes = made.chunk_bytes(), .num_slots = options.pool_chunks})
               .value();
    io = ThreadWorkPool::create("io", 2).value();
    copiers = ThreadWorkPool::create("copy", options.limits.copy_threads).value();
    control = ThreadExecutor::create("control", clock).value();
    std::vector<std::shared_ptr<Sink>> sinks;
    if (options.has_memory) {
      auto memory = make_local_cpu_backend(context("local_cpu"), {.max_bytes = pool->bytes()});
      sinks.push_back(std::make_shared<Sink>(std::move(memory).value(), options.sinks, *control));
    }
    for (size_t i = 0; i < options.num_stores; ++i) {
      auto store = std::make_unique<ScriptedBackend>(context("store" + std::to_string(i)));
      stores.push_back(store.get());
      sinks.push_back(std::make_shared<Sink>(std::move(store), options.sinks, *control));
    }
    core.emplace(*control, *copiers, *pool, *space, std::move(sinks), options.limits, nullptr);
  }
  ~CacheBench() {
    for (ScriptedBackend* store : stores) store->release_held();
    if (core.has_value()) close();
  }
  CacheBench(const CacheBench&) = delete;
  CacheBench& operator=(const CacheBench&) = delete;

  void close() {
    EXPECT_TRUE(core->close(std::chrono::seconds(20)));
    copiers.reset();
    control->stop();
    stores.clear();
    core.reset();
    io.reset();
    EXPECT_EQ(pool->usage().used_slots, 0U) << "references that leaked";
  }

  /// Returns when all that the control executor and the copiers had to do has been done.
  void drain() {
    for (int i = 0; i < 3; ++i) {
      std::promise<void> copied;
      std::promise<void> done;
      control->post([&] { copiers->submit([&] { control->post([&] { copied.set_value(); }); }); });
      copied.get_future().wait();
      control->post([&] { done.set_value(); });
      done.get_future().wait();
    }
  }

  /// Tokens of a prompt; equal seeds, equal tokens.
  static std::vector<uint32_t> prompt(int64_t num_tokens, uint32_t seed) {
    std::vector<uint32_t> tokens(static_cast<size_t>(num_tokens));
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = static_cast<uint32_t>(i * 2654435761U) ^ (seed * 40503U);
    }
    return tokens;
  }

  /// Pages for a prompt, filled as the engine would have computed them, or poisoned.
  struct Placed {
    std::vector<uint32_t> tokens;
    std::vector<int64_t> blocks;
    std::vector<int64_t> slots;
    std::vector<ChunkRef> chunks;

    PagedTokens paged() const { return {tokens, slots}; }
    const CacheEngineKey& key(size_t chunk) const { return chunks[chunk].key; }
    std::span<const int64_t> slots_of(size_t chunk) const {
      return std::span(slots).subspan(static_cast<size_t>(chunks[chunk].token_begin),
                                      static_cast<size_t>(chunks[chunk].num_tokens()));
    }
  };
  Placed place(std::vector<uint32_t> tokens) {
    Placed placed;
    const auto count = static_cast<int64_t>(tokens.size());
    placed.tokens = std::move(tokens);
    placed.chunks = space->split(placed.tokens);
    placed.blocks = pages->allocate(pages->blocks_for(count)).value();
    placed.slots = slots_from_block_table(placed.blocks, model.block_tokens, 0, count).value();
    return placed;
  }
  Placed filled(std::vector<uint32_t> tokens) {
    Placed placed = place(std::move(tokens));
    for (size_t i = 0; i < placed.chunks.size(); ++i) {
      EXPECT_THAT(fill_chunk(pages->layout(), placed.slots_of(i), placed.chunks[i].key.chunk_hash),
                  IsOk());
    }
    return placed;
  }
  Placed poisoned(std::vector<uint32_t> tokens) {
    Placed placed = place(std::move(tokens));
    EXPECT_THAT(poison_slots(pages->layout(), placed.slots), IsOk());
    return placed;
  }
  void give_back(const Placed& placed) { EXPECT_THAT(pages->free(placed.blocks), IsOk()); }

  /// The first so many tokens are what the oracle says.
  ::testing::AssertionResult holds(const Placed& placed, int64_t tokens) {
    for (size_t i = 0; i < placed.chunks.size() && placed.chunks[i].token_end <= tokens; ++i) {
      const auto mismatch =
          verify_chunk(pages->layout(), placed.slots_of(i), placed.chunks[i].key.chunk_hash);
      if (!mismatch.has_value()) return ::testing::AssertionFailure() << "slots are out of range";
      if (mismatch->has_value()) {
        return ::testing::AssertionFailure() << "chunk " << i << ": " << (*mismatch)->to_string();
      }
    }
    return ::testing::AssertionSuccess();
  }

  StoreResult store(const Placed& placed) { return core->store(placed.paged(), {}).wait(); }
  RetrieveResult retrieve(const Placed& placed) {
    return core->retrieve(placed.paged(), {}).wait();
  }

  BackendContext context(std::string name) {
    BackendContext context;
    context.name = std::move(name);
    context.executor = control.get();
    context.work_pool = io.get();
    context.allocator = pool.get();
    return context;
  }

  ModelShape model;
  std::optional<PagedKVCache> pages;
  std::optional<TokenChunks> space;
  SteadyClock clock;
  std::unique_ptr<MemoryPool> pool;
  std::unique_ptr<ThreadWorkPool> io;
  std::unique_ptr<ThreadWorkPool> copiers;
  std::unique_ptr<ThreadExecutor> control;
  std::vector<ScriptedBackend*> stores;
  std::optional<CacheCore> core;
};

}  // namespace kvferry
