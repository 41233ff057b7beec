#include "transports/host_offload/copy_lane.h"

#include <utility>

namespace kvferry {

Result<CopyLane> CopyLane::create(int32_t device, size_t max_copies) {
  KVFERRY_ASSIGN_OR_RETURN(CudaStream stream, CudaStream::create(device));
  std::vector<CudaEvent> events;
  events.reserve(max_copies);
  while (events.size() < max_copies) {
    KVFERRY_ASSIGN_OR_RETURN(CudaEvent event, CudaEvent::create(device));
    events.push_back(std::move(event));
  }
  return CopyLane{std::move(stream), std::move(events)};
}

}  // namespace kvferry
