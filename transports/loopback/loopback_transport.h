#pragma once

#include <memory>
#include <string_view>

#include "core/port_hub.h"
#include "kvferry/transport.h"
#include "transports/loopback/loopback_port.h"

namespace kvferry {

/// Serves PeerClass::kSameProcess.
///
/// Threads: any thread for is_available; open_link on the executor that will own the link.
class LoopbackTransport final : public Transport {
 public:
  std::string_view name() const override { return "loopback"; }
  Status is_available(PeerClass peer_class) const override;
  Result<std::unique_ptr<Link>> open_link(PeerClass peer_class, Executor& executor) override;

 private:
  // Shared with the links, which take themselves off it when they end.
  const std::shared_ptr<PortHub<LoopbackPort>> hub_ =
      std::make_shared<PortHub<LoopbackPort>>("kvferry.loopback.1");
};

}  // namespace kvferry
