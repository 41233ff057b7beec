#include "workload/engine/paged_kv_cache.h"

#include <string>

namespace kvferry {
namespace {

constexpr int64_t kBufferAlignment = 4096;
constexpr int64_t kMaxCacheBytes = int64_t{1} << 46;

/// From one layer's buffer to the next; 0 if the shape is out of bounds.
int64_t buffer_stride(PagePreset preset, const PagedShape& shape) {
  const int64_t bytes = buffer_bytes(preset, shape);
  if (bytes < 1 || bytes > kMaxCacheBytes / num_buffers(preset, shape)) return 0;
  return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

}  // namespace

int64_t PagedKVCache::bytes_needed(const ModelShape& model, PagePreset preset, int64_t num_blocks) {
  const PagedShape shape = model.paged_shape(num_blocks);
  return buffer_stride(preset, shape) * num_buffers(preset, shape);
}

Result<PagedKVCache> PagedKVCache::create(const ModelShape& model, PagePreset preset,
                                          int64_t num_blocks, uint64_t seed) {
  const PagedShape shape = model.paged_shape(num_blocks);
  const int64_t stride = buffer_stride(preset, shape);
  if (stride == 0) {
    return make_error(StatusCode::kInvalidArgument,
                      "paged cache of " + std::to_string(num_blocks) + " blocks of model " +
                          std::string(model.name) + " as " + std::string(page_preset_name(preset)) +
                          " is empty or past " + std::to_string(kMaxCacheBytes) + " bytes");
  }
  KVFERRY_ASSIGN_OR_RETURN(
      HostBuffer memory,
      HostBuffer::create(static_cast<size_t>(stride * num_buffers(preset, shape))));
  std::vector<std::byte*> buffers(static_cast<size_t>(num_buffers(preset, shape)));
  for (size_t i = 0; i < buffers.size(); ++i) {
    buffers[i] = memory.data() + static_cast<int64_t>(i) * stride;
  }
  KVFERRY_ASSIGN_OR_RETURN(KVLayout layout, make_kv_layout(preset, shape, buffers));
  KVFERRY_ASSIGN_OR_RETURN(BlockAllocator blocks, BlockAllocator::create(num_blocks, seed));
  return PagedKVCache(model, std::move(memory), std::move(layout), std::move(blocks));
}

int64_t PagedKVCache::blocks_for(int64_t num_tokens) const {
  return (num_tokens + model_.block_tokens - 1) / model_.block_tokens;
}

}  // namespace kvferry
