#include "transports/host_offload/host_offload_transport.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cuda/device_query.h"
#include "transports/host_offload/copy_lane.h"
#include "transports/host_offload/factory.h"
#include "transports/host_offload/host_offload_link.h"

namespace kvferry {

Result<std::unique_ptr<Transport>> make_host_offload_transport(int32_t device) {
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<CudaDeviceInfo> devices, query_cuda_devices());
  if (std::ranges::find(devices, device, &CudaDeviceInfo::device) == devices.end()) {
    return make_error(StatusCode::kInvalidArgument,
                      "there is no CUDA device " + std::to_string(device) + "; use one of 0 to " +
                          std::to_string(devices.size() - 1));
  }
  return std::make_unique<HostOffloadTransport>(device);
}

Status HostOffloadTransport::is_available(PeerClass peer_class) const {
  if (peer_class == PeerClass::kSameProcess) return {};
  return make_error(StatusCode::kUnimplemented,
                    "host_offload serves peers of the same process, not " +
                        std::string(peer_class_name(peer_class)) + "; use the ucx transport");
}

Result<std::unique_ptr<Link>> HostOffloadTransport::open_link(PeerClass peer_class,
                                                              Executor& executor) {
  KVFERRY_RETURN_IF_ERROR(is_available(peer_class));
  KVFERRY_ASSIGN_OR_RETURN(CopyLane lane, CopyLane::create(device_));
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<Link> link,
                           HostOffloadLink::open(hub_, std::move(lane), executor));
  return link;
}

}  // namespace kvferry
