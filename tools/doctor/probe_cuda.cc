#include "cuda/device_query.h"
#include "tools/doctor/probes.h"

namespace kvferry {

Finding probe_cuda() {
  const auto devices = query_cuda_devices();
  if (!devices) {
    return {.subject = "cuda",
            .health = Health::kLimited,
            .found = std::string(devices.error().message()),
            .advice = "chunks move between host memories only"};
  }
  std::string names;
  for (const auto& device : *devices) names += (names.empty() ? "" : ", ") + device.name;
  return {.subject = "cuda", .found = names, .advice = ""};
}

}  // namespace kvferry
