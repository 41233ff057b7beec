#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kvferry/status.h"

namespace kvferry {

struct CudaDeviceInfo {
  int32_t device = 0;
  std::string name;
  int32_t compute_major = 0;
  int32_t compute_minor = 0;
  int32_t num_multiprocessors = 0;
  size_t memory_bytes = 0;
  std::string pci_bus_id;
  int32_t driver_version = 0;   ///< newest CUDA that the driver knows, as 1000 * major + 10 * minor
  int32_t runtime_version = 0;  ///< of the runtime linked in
};

/// The CUDA devices that this process can use; never empty.
///
/// Works on machines without a driver: the runtime is linked statically and looks for one.
///
/// Threads: any thread. Creates no context.
/// Errors:  kUnimplemented if kvferry was built without CUDA; kNotFound if there is no driver, one
///   too old, or no device; else as cuda_status()
Result<std::vector<CudaDeviceInfo>> query_cuda_devices();

}  // namespace kvferry
