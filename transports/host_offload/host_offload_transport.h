#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "core/port_hub.h"
#include "kvferry/transport.h"
#include "transports/host_offload/host_offload_port.h"

namespace kvferry {

/// Serves PeerClass::kSameProcess.
///
/// Threads: any thread for is_available; open_link on the executor that will own the link.
class HostOffloadTransport final : public Transport {
 public:
  explicit HostOffloadTransport(int32_t device) : device_(device) {}

  std::string_view name() const override { return "host_offload"; }
  Status is_available(PeerClass peer_class) const override;
  bool moves_device_memory() const override { return true; }
  Result<std::unique_ptr<Link>> open_link(PeerClass peer_class, Executor& executor) override;

 private:
  const int32_t device_;
  // Shared with the links, which take themselves off it when they end.
  const std::shared_ptr<PortHub<HostOffloadPort>> hub_ =
      std::make_shared<PortHub<HostOffloadPort>>("kvferry.host_offload.1");
};

}  // namespace kvferry
