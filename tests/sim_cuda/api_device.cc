// Devices, errors, peers.

#include <cstdio>
#include <cstring>
#include <utility>

#include "tests/sim_cuda/sim_runtime.h"

using namespace kvferry::sim_cuda;  // NOLINT(google-build-using-namespace)

namespace {

bool is_device(int device) { return device >= 0 && device < Runtime::get().options().num_devices; }

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};
constexpr ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
     "invalid copy direction for memcpy"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "misaligned address"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorPeerAccessUnsupported, "cudaErrorPeerAccessUnsupported",
     "peer access is not supported between these two devices"},
    {cudaErrorPeerAccessAlreadyEnabled, "cudaErrorPeerAccessAlreadyEnabled",
     "peer access is already enabled"},
    {cudaErrorHostMemoryAlreadyRegistered, "cudaErrorHostMemoryAlreadyRegistered",
     "part or all of the requested memory range is already mapped"},
    {cudaErrorHostMemoryNotRegistered, "cudaErrorHostMemoryNotRegistered",
     "pointer does not correspond to a registered memory region"},
    {cudaErrorNotPermitted, "cudaErrorNotPermitted", "operation not permitted"},
    {cudaErrorDeviceUninitialized, "cudaErrorDeviceUninitialized", "invalid device context"},
};

const ErrorText* find_text(cudaError_t error) {
  for (const ErrorText& text : kErrors) {
    if (text.error == error) return &text;
  }
  return nullptr;
}

}  // namespace

extern "C" {

const char* cudaGetErrorName(cudaError_t error) {
  const ErrorText* text = find_text(error);
  return text == nullptr ? "an error without a name in sim_cuda" : text->name;
}

const char* cudaGetErrorString(cudaError_t error) {
  const ErrorText* text = find_text(error);
  return text == nullptr ? "an error without a text in sim_cuda" : text->text;
}

cudaError_t cudaGetLastError() {
  ThreadState& state = thread_state();
  const cudaError_t fault = Runtime::get().fault(state.device);
  const cudaError_t error = std::exchange(state.last_error, cudaSuccess);
  return fault != cudaSuccess ? fault : error;
}

cudaError_t cudaPeekAtLastError() {
  const cudaError_t error = cudaGetLastError();
  thread_state().last_error = error;
  return error;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = Runtime::get().options().num_devices;
  return returned(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int* device) {
  *device = thread_state().device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (!is_device(device)) return returned(cudaErrorInvalidDevice);
  thread_state().device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (!is_device(device)) return returned(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "sim_cuda (no GPU)");
  properties->major = 9;
  properties->minor = 0;
  properties->multiProcessorCount = 132;
  properties->totalGlobalMem = kDeviceBytes;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (!is_device(device)) return returned(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 132;
      return cudaSuccess;
    default:
      return refused(cudaErrorInvalidValue,
                     "attribute " + std::to_string(attribute) + " is not known to sim_cuda");
  }
}

cudaError_t cudaDeviceGetPCIBusId(char* bus_id, int bytes, int device) {
  if (!is_device(device)) return returned(cudaErrorInvalidDevice);
  std::snprintf(bus_id, static_cast<size_t>(bytes), "0000:%02X:00.0", device);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *total_bytes = kDeviceBytes;
  *free_bytes = kDeviceBytes - Runtime::get().device_bytes_in_use(thread_state().device);
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  Runtime::get().wait_for_device(thread_state().device);
  return returned(Runtime::get().fault(thread_state().device));
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  if (!is_device(device) || !is_device(peer)) return returned(cudaErrorInvalidDevice);
  *can = device != peer && Runtime::get().options().peer_access ? 1 : 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags) {
  const int device = thread_state().device;
  if (!is_device(peer) || peer == device || flags != 0) return returned(cudaErrorInvalidDevice);
  if (!Runtime::get().options().peer_access) return returned(cudaErrorPeerAccessUnsupported);
  if (Runtime::get().peer_access(device, peer).exchange(true)) {
    return returned(cudaErrorPeerAccessAlreadyEnabled);
  }
  return cudaSuccess;
}

}  // extern "C"
