#include "transports/loopback/loopback_transport.h"

#include <string>

#include "transports/loopback/factory.h"
#include "transports/loopback/loopback_link.h"

namespace kvferry {

std::unique_ptr<Transport> make_loopback_transport() {
  return std::make_unique<LoopbackTransport>();
}

Status LoopbackTransport::is_available(PeerClass peer_class) const {
  if (peer_class == PeerClass::kSameProcess) return {};
  return make_error(StatusCode::kUnimplemented, "loopback serves peers of the same process, not " +
                                                    std::string(peer_class_name(peer_class)) +
                                                    "; use the ucx transport");
}

Result<std::unique_ptr<Link>> LoopbackTransport::open_link(PeerClass peer_class,
                                                           Executor& executor) {
  KVFERRY_RETURN_IF_ERROR(is_available(peer_class));
  return std::make_unique<LoopbackLink>(hub_, executor);
}

}  // namespace kvferry
