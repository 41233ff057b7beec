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
                                          int64_t num_blocks, uint64_t seed, Device device) {
  const PagedShape shape = model.paged_shape(num_blocks);
  const int64_t stride = buffer_stride(preset, shape);
  if (stride == 0) {
    return make_error(StatusCode::kInvalidArgument,
                      "paged cache of " + std::to_string(num_blocks) + " blocks of model " +
                          std::string(model.name) + " as " + std::string(page_preset_name(preset)) +
                          " is empty or past " + std::to_string(kMaxCacheBytes) + " bytes");
  }
  KVFERRY_ASSIGN_OR_RETURN(BlockAllocator blocks, BlockAllocator::create(num_blocks, seed));
  PagedKVCache cache(model, std::move(blocks));
  cache.total_bytes_ = stride * num_buffers(preset, shape);
  const auto bytes = static_cast<size_t>(cache.total_bytes_);
  std::byte* memory = nullptr;
  if (device.is_host()) {
    KVFERRY_ASSIGN_OR_RETURN(cache.host_memory_, HostBuffer::create(bytes));
    memory = cache.host_memory_.data();
  } else {
    KVFERRY_ASSIGN_OR_RETURN(cache.device_memory_, DeviceMemory::create(device.index, bytes));
    memory = cache.device_memory_->data();
  }
  std::vector<std::byte*> buffers(static_cast<size_t>(num_buffers(preset, shape)));
  for (size_t i = 0; i < buffers.size(); ++i) {
    buffers[i] = memory + static_cast<int64_t>(i) * stride;
  }
  KVFERRY_ASSIGN_OR_RETURN(cache.layout_, make_kv_layout(preset, shape, buffers));
  cache.layout_.device = device;
  return cache;
}

int64_t PagedKVCache::blocks_for(int64_t num_tokens) const {
  return (num_tokens + model_.block_tokens - 1) / model_.block_tokens;
}

}  // namespace kvferry
