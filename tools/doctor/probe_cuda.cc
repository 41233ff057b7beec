#include "tools/doctor/probe_cuda.h"

namespace kvferry {
namespace {

/// "NVIDIA H100 (sm_90, 80 GiB)".
std::string device_text(const CudaDeviceInfo& device) {
  constexpr size_t kGiB = size_t{1} << 30U;
  return device.name + " (sm_" + std::to_string(device.compute_major) +
         std::to_string(device.compute_minor) + ", " +
         std::to_string((device.memory_bytes + kGiB / 2) / kGiB) + " GiB)";
}

/// 13000 is "13.0".
std::string cuda_version_text(int32_t version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

Finding cuda_finding(const Result<std::vector<CudaDeviceInfo>>& devices) {
  if (!devices) {
    return {.subject = "cuda",
            .health = Health::kLimited,
            .found = std::string(devices.error().message()),
            .advice = "chunks move between host memories only",
            .value = 0,
            .unit = "devices"};
  }
  std::string names;
  for (const auto& device : *devices) names += device_text(device) + ", ";
  return {.subject = "cuda",
          .found = names + "driver for CUDA " + cuda_version_text(devices->front().driver_version),
          .advice = "",
          .value = static_cast<int64_t>(devices->size()),
          .unit = "devices"};
}

Finding device_memory_finding(const DeviceMemoryOverUcx& device_memory) {
  const std::string ucx = "UCX " + device_memory.ucx_version;
  Finding finding{.subject = "ucx, device memory", .found = "", .advice = ""};
  if (!device_memory.has_device) {
    finding.found = ucx + " was not asked: kvferry has no CUDA device here";
  } else if (device_memory.is_moved) {
    finding.found = ucx + " moves it directly";
  } else {
    finding.health = Health::kLimited;
    finding.found = ucx + " does not move it: it is staged through pinned host memory";
    finding.advice = device_memory.user_overrides_tls
                         ? "UCX_TLS is set, perhaps without UCX's CUDA transports; unset it unless "
                           "you mean it"
                         : "a UCX with CUDA, 1.19 or newer, moves it directly: build with UCX_ROOT "
                           "(docs/device-memory.md)";
  }
  return finding;
}

}  // namespace kvferry
