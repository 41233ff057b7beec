// Allocation, registration and sharing of memory.

#include <cstring>

#include "tests/sim_cuda/sim_runtime.h"

using namespace kvferry::sim_cuda;  // NOLINT(google-build-using-namespace)

namespace {

/// Gives back a region of one of two kinds that begins at `address`.
cudaError_t give_back(void* address, RegionKind kind, RegionKind other, const char* call,
                      cudaError_t unknown) {
  Runtime& runtime = Runtime::get();
  const auto region = runtime.memory().find(address);
  const bool begins = region && region->begin == reinterpret_cast<uintptr_t>(address);
  if (!begins || (region->kind != kind && region->kind != other)) {
    return refused(unknown, std::string(call) + " of memory that it did not give, or gave back");
  }
  const std::string user = runtime.user_of({region->begin, region->bytes});
  if (!user.empty()) {
    runtime.note(std::string(call) + " of memory that a queued operation uses: " + user);
  }
  runtime.memory().remove(*region);
  return returned(region->is_host() ? cudaSuccess : runtime.fault(region->device));
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** address, size_t bytes) {
  Runtime& runtime = Runtime::get();
  const int device = thread_state().device;
  *address = nullptr;
  if (const cudaError_t fault = runtime.fault(device); fault != cudaSuccess) return returned(fault);
  if (bytes == 0) return cudaSuccess;
  if (bytes > kDeviceBytes - runtime.device_bytes_in_use(device)) {
    return returned(cudaErrorMemoryAllocation);
  }
  *address = runtime.memory().allocate_device(bytes, device);
  return returned(*address == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}

cudaError_t cudaFree(void* address) {
  if (address == nullptr) return cudaSuccess;
  return give_back(address, RegionKind::kDevice, RegionKind::kDevice, "cudaFree",
                   cudaErrorInvalidValue);
}

cudaError_t cudaHostAlloc(void** address, size_t bytes, unsigned) {
  *address = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (bytes > kDeviceBytes) return returned(cudaErrorMemoryAllocation);
  *address = Runtime::get().memory().allocate_pinned(bytes);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* address) {
  if (address == nullptr) return cudaSuccess;
  return give_back(address, RegionKind::kPinned, RegionKind::kPinned, "cudaFreeHost",
                   cudaErrorInvalidValue);
}

cudaError_t cudaHostRegister(void* address, size_t bytes, unsigned) {
  Runtime& runtime = Runtime::get();
  if (address == nullptr || bytes == 0) return returned(cudaErrorInvalidValue);
  if (runtime.memory().is_device_address(address)) {
    return refused(cudaErrorInvalidValue, "cudaHostRegister of device memory");
  }
  return returned(runtime.memory().register_host(address, bytes)
                      ? cudaSuccess
                      : cudaErrorHostMemoryAlreadyRegistered);
}

cudaError_t cudaHostUnregister(void* address) {
  return give_back(address, RegionKind::kRegistered, RegionKind::kRegistered, "cudaHostUnregister",
                   cudaErrorHostMemoryNotRegistered);
}

cudaError_t cudaHostGetDevicePointer(void** device_address, void* address, unsigned) {
  const auto region = Runtime::get().memory().find(address);
  if (!region || !region->is_host()) return returned(cudaErrorInvalidValue);
  *device_address = address;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  Runtime& runtime = Runtime::get();
  *attributes = {};
  attributes->device = -1;
  attributes->type = cudaMemoryTypeUnregistered;
  const auto region = runtime.memory().find(address);
  if (!region) {
    if (!runtime.memory().is_device_address(address)) {
      attributes->hostPointer = const_cast<void*>(address);
      return cudaSuccess;
    }
    return refused(cudaErrorInvalidValue, "a question about device memory that is not allocated");
  }
  attributes->type = region->is_host() ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  attributes->device = region->is_host() ? thread_state().device : region->device;
  attributes->devicePointer = const_cast<void*>(address);
  attributes->hostPointer = region->is_host() ? const_cast<void*>(address) : nullptr;
  return cudaSuccess;
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* address) {
  Runtime& runtime = Runtime::get();
  const auto region = runtime.memory().find(address);
  if (!region || region->kind != RegionKind::kDevice) return returned(cudaErrorInvalidValue);
  const Memory::Export exported = runtime.memory().export_region(*region);
  static_assert(sizeof(exported) <= sizeof(*handle));
  *handle = {};
  std::memcpy(handle, &exported, sizeof(exported));
  return cudaSuccess;
}

cudaError_t cudaIpcOpenMemHandle(void** address, cudaIpcMemHandle_t handle, unsigned) {
  Memory::Export exported;
  std::memcpy(&exported, &handle, sizeof(exported));
  *address = Runtime::get().memory().import_region(exported, thread_state().device);
  return returned(*address == nullptr ? cudaErrorDeviceUninitialized : cudaSuccess);
}

cudaError_t cudaIpcCloseMemHandle(void* address) {
  return give_back(address, RegionKind::kImported, RegionKind::kImported, "cudaIpcCloseMemHandle",
                   cudaErrorInvalidValue);
}

}  // extern "C"
