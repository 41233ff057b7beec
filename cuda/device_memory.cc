#include "cuda/device_memory.h"

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/cuda_device_guard.h"
#include "cuda/cuda_status.h"

namespace kvferry {

Result<DeviceMemory> DeviceMemory::create(int32_t device, size_t bytes) {
  if (bytes == 0) return make_error(StatusCode::kInvalidArgument, "device memory of 0 bytes");
  const CudaDeviceGuard guard(device);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  void* data = nullptr;
  if (const cudaError_t error = cudaMalloc(&data, bytes); error != cudaSuccess) {
    return make_error(cuda_status(error, "allocating " + std::to_string(bytes) +
                                             " bytes on CUDA device " + std::to_string(device)));
  }
  return DeviceMemory(static_cast<std::byte*>(data), bytes, device);
}

void DeviceMemory::reset() noexcept {
  if (data_ == nullptr) return;
  const CudaDeviceGuard guard(device_);
  drop_cuda_error(cudaFree(data_));
  data_ = nullptr;
}

}  // namespace kvferry
