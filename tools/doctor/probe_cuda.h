#pragma once

#include <string>
#include <vector>

#include "cuda/device_query.h"
#include "tools/doctor/doctor.h"

namespace kvferry {

/// The CUDA devices, as query_cuda_devices() tells of them.
Finding cuda_finding(const Result<std::vector<CudaDeviceInfo>>& devices);

struct DeviceMemoryOverUcx {
  std::string ucx_version;
  bool has_device = false;
  bool is_moved = false;            ///< Transport::moves_device_memory()
  bool user_overrides_tls = false;  ///< UCX_TLS is set
};

/// Whether UCX moves device memory, and what becomes of it if not.
Finding device_memory_finding(const DeviceMemoryOverUcx& device_memory);

}  // namespace kvferry
