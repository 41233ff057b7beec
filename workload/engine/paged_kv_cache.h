#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "cuda/host/host_memory.h"
#include "kvferry/kv_layout.h"
#include "kvferry/status.h"
#include "workload/engine/block_allocator.h"
#include "workload/engine/model_shape.h"

namespace kvferry {

/// A paged KV cache on the host as an engine holds it: buffers in the engine's page layout, and
/// blocks handed out in the order that hours of serving leave (see BlockAllocator).
///
/// A vector of blocks is a request's block table: block i of it holds the tokens from
/// i * block_tokens. Pages are zero at first and are never cleared again.
///
/// Threads: allocate and free: caller serialises. The pages are the callers' to share out.
/// Owner:   owns the memory that layout() points into; moving the cache does not move pages.
class PagedKVCache {
 public:
  /// Errors: kInvalidArgument if the shape or num_blocks is out of bounds, or the preset does not
  ///   fit the model; kResourceExhausted if the memory cannot be had.
  static Result<PagedKVCache> create(const ModelShape& model, PagePreset preset, int64_t num_blocks,
                                     uint64_t seed);
  /// Bytes that such a cache takes, total_bytes() of it; 0 if out of bounds.
  static int64_t bytes_needed(const ModelShape& model, PagePreset preset, int64_t num_blocks);

  const KVLayout& layout() const { return layout_; }
  const ModelShape& model() const { return model_; }
  int64_t total_bytes() const { return static_cast<int64_t>(memory_.size()); }
  /// Blocks that hold `num_tokens` tokens.
  int64_t blocks_for(int64_t num_tokens) const;

  /// As in BlockAllocator.
  Result<std::vector<int64_t>> allocate(int64_t num_blocks) { return blocks_.allocate(num_blocks); }
  Status free(std::span<const int64_t> blocks) { return blocks_.free(blocks); }
  int64_t free_blocks() const { return blocks_.free_blocks(); }
  int64_t num_blocks() const { return blocks_.num_blocks(); }

 private:
  PagedKVCache(const ModelShape& model, HostBuffer memory, KVLayout layout, BlockAllocator blocks)
      : model_(model),
        memory_(std::move(memory)),
        layout_(std::move(layout)),
        blocks_(std::move(blocks)) {}

  ModelShape model_;
  HostBuffer memory_;  ///< all buffers, one behind the other
  KVLayout layout_;
  BlockAllocator blocks_;
};

}  // namespace kvferry
