#include "cuda/ipc_memory.h"

#include <cuda_runtime_api.h>

#include <cstring>

#include "cuda/cuda_device_guard.h"
#include "cuda/cuda_status.h"
#include "cuda/device_memory.h"

namespace kvferry {

static_assert(sizeof(cudaIpcMemHandle_t) == sizeof(IpcMemoryHandle::handle));

Result<IpcMemoryHandle> export_memory(const DeviceMemory& memory) {
  if (memory.data() == nullptr) {
    return make_error(StatusCode::kInvalidArgument, "no device memory to export: moved from");
  }
  const CudaDeviceGuard guard(memory.device());
  KVFERRY_RETURN_IF_ERROR(guard.status());
  cudaIpcMemHandle_t native;
  KVFERRY_RETURN_IF_ERROR(cuda_status(cudaIpcGetMemHandle(&native, memory.data()),
                                      "exporting device memory to other processes"));
  IpcMemoryHandle handle;
  std::memcpy(handle.handle.data(), &native, sizeof(native));
  handle.size = memory.size();
  return handle;
}

Result<ImportedMemory> ImportedMemory::open(int32_t device, const IpcMemoryHandle& handle) {
  if (handle.size == 0) {
    return make_error(StatusCode::kInvalidArgument,
                      "a handle of 0 bytes of another process's device memory");
  }
  const CudaDeviceGuard guard(device);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  cudaIpcMemHandle_t native;
  std::memcpy(&native, handle.handle.data(), sizeof(native));
  void* allocation = nullptr;
  KVFERRY_RETURN_IF_ERROR(cuda_status(
      cudaIpcOpenMemHandle(&allocation, native, cudaIpcMemLazyEnablePeerAccess),
      "opening device memory of another process (it must run, and still hold the memory)"));
  return ImportedMemory(allocation,
                        {static_cast<std::byte*>(allocation) + handle.offset, handle.size}, device);
}

void ImportedMemory::reset() noexcept {
  if (allocation_ == nullptr) return;
  const CudaDeviceGuard guard(device_);
  drop_cuda_error(cudaIpcCloseMemHandle(allocation_));
  allocation_ = nullptr;
}

}  // namespace kvferry
