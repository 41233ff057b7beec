#include "transports/loopback/loopback_link.h"

#include <utility>

namespace kvferry {
namespace {

constexpr size_t kMaxHeaderBytes = 64 * 1024;

LinkCapabilities loopback_capabilities() {
  LinkCapabilities capabilities;
  capabilities.fences_sources = true;
  capabilities.detects_peer_death = true;
  capabilities.max_header_bytes = kMaxHeaderBytes;
  capabilities.path = "loopback; one memcpy by the receiver";
  return capabilities;
}

}  // namespace

LoopbackLink::LoopbackLink(std::shared_ptr<PortHub<LoopbackPort>> hub, Executor& executor)
    : hub_(std::move(hub)),
      port_(std::make_shared<LoopbackPort>(executor)),
      address_(hub_->add(port_)),
      capabilities_(loopback_capabilities()) {}

LoopbackLink::~LoopbackLink() {
  hub_->remove(address_);
  port_->detach();
}

Status LoopbackLink::connect(std::string_view peer_address) {
  std::shared_ptr<LoopbackPort> peer = hub_->find(peer_address);
  if (peer == nullptr || peer == port_) {
    return make_error(StatusCode::kInvalidArgument,
                      "no other open link of this loopback transport has the address given (" +
                          std::to_string(peer_address.size()) +
                          " bytes); pass the peer's address() and let both use one Transport");
  }
  return port_->connect(std::move(peer));
}

void LoopbackLink::offer(std::span<const std::byte> header, std::span<const std::byte> source,
                         LinkCompletion on_sent) {
  if (header.size() > kMaxHeaderBytes) {
    return port_->complete_later(
        std::move(on_sent),
        {StatusCode::kInvalidArgument, "the header has " + std::to_string(header.size()) +
                                           " bytes; at most " + std::to_string(kMaxHeaderBytes)});
  }
  port_->offer(header, source, std::move(on_sent));
}

void LoopbackLink::close(std::function<void()> on_quiet) {
  hub_->remove(address_);
  port_->close(std::move(on_quiet));
}

}  // namespace kvferry
