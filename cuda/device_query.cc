#include "cuda/device_query.h"

#include <cuda_runtime_api.h>

#include "cuda/cuda_status.h"

namespace kvferry {
namespace {

Result<CudaDeviceInfo> query_device(int device) {
  cudaDeviceProp properties;
  KVFERRY_RETURN_IF_ERROR(
      cuda_status(cudaGetDeviceProperties(&properties, device), "properties of a CUDA device"));
  CudaDeviceInfo info{.device = device,
                      .name = properties.name,
                      .compute_major = properties.major,
                      .compute_minor = properties.minor,
                      .num_multiprocessors = properties.multiProcessorCount,
                      .memory_bytes = properties.totalGlobalMem,
                      .pci_bus_id = {}};
  char bus_id[32] = {};
  KVFERRY_RETURN_IF_ERROR(cuda_status(cudaDeviceGetPCIBusId(bus_id, sizeof(bus_id), device),
                                      "PCI address of a CUDA device"));
  info.pci_bus_id = bus_id;
  return info;
}

}  // namespace

Result<std::vector<CudaDeviceInfo>> query_cuda_devices() {
  int driver_version = 0;
  int runtime_version = 0;
  KVFERRY_RETURN_IF_ERROR(
      cuda_status(cudaDriverGetVersion(&driver_version), "CUDA driver version"));
  if (driver_version == 0) {
    return make_error(StatusCode::kNotFound,
                      "no CUDA driver on this machine (libcuda.so.1 was not found); install the "
                      "NVIDIA driver or use the host device");
  }
  KVFERRY_RETURN_IF_ERROR(
      cuda_status(cudaRuntimeGetVersion(&runtime_version), "CUDA runtime version"));
  int count = 0;
  KVFERRY_RETURN_IF_ERROR(cuda_status(cudaGetDeviceCount(&count), "counting CUDA devices"));
  if (count == 0) {
    return make_error(StatusCode::kNotFound,
                      "the CUDA driver shows no device; look at CUDA_VISIBLE_DEVICES");
  }
  std::vector<CudaDeviceInfo> devices;
  for (int device = 0; device < count; ++device) {
    KVFERRY_ASSIGN_OR_RETURN(CudaDeviceInfo info, query_device(device));
    info.driver_version = driver_version;
    info.runtime_version = runtime_version;
    devices.push_back(std::move(info));
  }
  return devices;
}

}  // namespace kvferry
