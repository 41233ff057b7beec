#include "cuda/pinned_memory.h"

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/cuda_status.h"

namespace kvferry {

Result<PinnedMemory> PinnedMemory::create(size_t bytes) {
  if (bytes == 0) return make_error(StatusCode::kInvalidArgument, "pinned memory of 0 bytes");
  void* data = nullptr;
  const cudaError_t error =
      cudaHostAlloc(&data, bytes, cudaHostAllocPortable | cudaHostAllocMapped);
  if (error != cudaSuccess) {
    return make_error(
        cuda_status(error, "allocating " + std::to_string(bytes) + " bytes of pinned host memory"));
  }
  return PinnedMemory(static_cast<std::byte*>(data), bytes);
}

void PinnedMemory::reset() noexcept {
  if (data_ == nullptr) return;
  drop_cuda_error(cudaFreeHost(data_));
  data_ = nullptr;
}

}  // namespace kvferry
