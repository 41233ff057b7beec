#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "cuda/device_memory.h"
#include "cuda/host/host_memory.h"
#include "kvferry/device.h"
#include "kvferry/kv_layout.h"
#include "kvferry/status.h"
#include "workload/engine/block_allocator.h"
#include "workload/engine/model_shape.h"

namespace kvferry {

/// A paged KV cache as an engine holds it: buffers in the engine's page layout, and
/// blocks handed out in the order that hours of serving leave (see BlockAllocator).
///
/// A vector of blocks is a request's block table: block i of it holds the tokens from
/// i * block_tokens. Pages on the host are zero at first, on a device undefined; none is ever
/// cleared again.
///
/// Threads: allocate and free: caller serialises. The pages are the callers' to share out.
/// Owner:   owns the memory that layout() points into; moving the cache does not move pages.
class PagedKVCache {
 public:
  /// Errors: kInvalidArgument if the shape or num_blocks is out of bounds, or the preset does not
  ///   fit the model; kResourceExhausted if the memory cannot be had; those of DeviceMemory.
  static Result<PagedKVCache> create(const ModelShape& model, PagePreset preset, int64_t num_blocks,
                                     uint64_t seed, Device device = Device::host());
  /// Bytes that such a cache takes, total_bytes() of it; 0 if out of bounds.
  static int64_t bytes_needed(const ModelShape& model, PagePreset preset, int64_t num_blocks);

  const KVLayout& layout() const { return layout_; }
  const ModelShape& model() const { return model_; }
  int64_t total_bytes() const { return total_bytes_; }
  /// Blocks that hold `num_tokens` tokens.
  int64_t blocks_for(int64_t num_tokens) const;

  /// As in BlockAllocator.
  Result<std::vector<int64_t>> allocate(int64_t num_blocks) { return blocks_.allocate(num_blocks); }
  Status free(std::span<const int64_t> blocks) { return blocks_.free(blocks); }
  int64_t free_blocks() const { return blocks_.free_blocks(); }
  int64_t num_blocks() const { return blocks_.num_blocks(); }

 private:
  PagedKVCache(const ModelShape& model, BlockAllocator blocks)
      : model_(model), blocks_(std::move(blocks)) {}

  ModelShape model_;
  int64_t total_bytes_ = 0;
  // All buffers, one behind the other, in one of these.
  HostBuffer host_memory_;
  std::optional<DeviceMemory> device_memory_;
  KVLayout layout_;
  BlockAllocator blocks_;
};

}  // namespace kvferry
