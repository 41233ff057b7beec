#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "kvferry/cache_engine_key.h"
#include "kvferry/chunk_hash.h"
#include "kvferry/status.h"
#include "kvferry/transfer_engine.h"
#include "workload/engine/paged_kv_cache.h"
#include "workload/engine/prefix_index.h"

namespace kvferry {

/// The chunks of a prompt, the last one perhaps not full.
std::vector<ChunkRef> chunks_of_prompt(const ModelShape& model, const ChunkHasher& hasher,
                                       std::span<const uint32_t> tokens);

/// One chunk of the prompt at hand, and its place in the paged cache.
struct PromptChunk {
  ChunkRef ref;
  std::vector<int64_t> blocks;
  std::vector<int64_t> slots;
  bool is_held = false;  ///< its bytes are there; else its blocks are reserved for them
};

/// An engine's paged cache with its prefix cache: prompts are opened chunk by chunk, what is held
/// of earlier prompts is found, the least recently used makes room for the rest.
///
/// Threads: any thread, caller serialises.
class PromptCache {
 public:
  explicit PromptCache(PagedKVCache cache);
  PromptCache(PromptCache&&) = default;
  PromptCache& operator=(PromptCache&&) = default;

  /// Finds or reserves all chunks and keeps them until close_prompt().
  ///
  /// Errors: kResourceExhausted if they do not fit beside what other open prompts keep; evictions
  ///   may have happened, nothing is reserved.
  Result<std::vector<PromptChunk>> open_prompt(std::span<const ChunkRef> chunks);

  /// The bytes of a reserved chunk are there now: later prompts will find it.
  Status publish(PromptChunk& chunk);

  /// Ends open_prompt(): what was not published goes back, the rest may be evicted again.
  Status close_prompt(std::span<PromptChunk> chunks);

  /// Where a published chunk lies; nullptr if it is not held.
  const std::vector<int64_t>* find_blocks(const CacheEngineKey& key) const {
    return held_.find(key);
  }
  /// Keeps a published chunk from eviction until as many unpins. Errors: as PrefixIndex.
  Status pin(const CacheEngineKey& key) { return held_.pin(key); }
  Status unpin(const CacheEngineKey& key) { return held_.unpin(key); }

  Result<std::vector<int64_t>> slots_of(const ChunkRef& ref, std::span<const int64_t> blocks) const;

  const PagedKVCache& cache() const { return cache_; }
  /// Tokens of the longest prompt that fits into an empty cache, in whole chunks of `chunk_tokens`.
  int64_t max_prompt_tokens(int64_t chunk_tokens) const;
  int64_t evictions() const { return held_.evictions(); }
  /// Was this chunk held once and evicted since?
  bool was_evicted(const CacheEngineKey& key) const { return evicted_.contains(key); }

 private:
  Result<PromptChunk> open_chunk(const ChunkRef& ref);
  Result<std::vector<int64_t>> reserve(int64_t num_blocks);

  PagedKVCache cache_;
  PrefixIndex held_;
  std::unordered_set<CacheEngineKey> evicted_;
};

}  // namespace kvferry
