#include "transports/host_offload/host_offload_link.h"

#include <utility>

namespace kvferry {
namespace {

constexpr size_t kMaxHeaderBytes = 64 * 1024;

LinkCapabilities host_offload_capabilities(int32_t device) {
  LinkCapabilities capabilities;
  capabilities.device_memory = true;
  capabilities.fences_sources = true;
  capabilities.detects_peer_death = true;
  capabilities.max_header_bytes = kMaxHeaderBytes;
  capabilities.path =
      "host_offload; one copy by the receiver, on CUDA device " + std::to_string(device);
  return capabilities;
}

}  // namespace

Result<std::unique_ptr<HostOffloadLink>> HostOffloadLink::open(
    std::shared_ptr<PortHub<HostOffloadPort>> hub, CopyLane lane, Executor& executor) {
  const int32_t device = lane.stream.view().device();
  auto port = std::make_shared<HostOffloadPort>(std::move(lane), executor);
  KVFERRY_RETURN_IF_ERROR(executor.add_progress_source(port.get()));
  return std::unique_ptr<HostOffloadLink>(
      new HostOffloadLink(std::move(hub), std::move(port), device));
}

HostOffloadLink::HostOffloadLink(std::shared_ptr<PortHub<HostOffloadPort>> hub,
                                 std::shared_ptr<HostOffloadPort> port, int32_t device)
    : hub_(std::move(hub)),
      port_(std::move(port)),
      address_(hub_->add(port_)),
      capabilities_(host_offload_capabilities(device)) {}

HostOffloadLink::~HostOffloadLink() {
  hub_->remove(address_);
  port_->detach();
}

Status HostOffloadLink::connect(std::string_view peer_address) {
  std::shared_ptr<HostOffloadPort> peer = hub_->find(peer_address);
  if (peer == nullptr || peer == port_) {
    return make_error(StatusCode::kInvalidArgument,
                      "no other open link of this host_offload transport has the address given (" +
                          std::to_string(peer_address.size()) +
                          " bytes); pass the peer's address() and let both use one Transport");
  }
  return port_->connect(std::move(peer));
}

void HostOffloadLink::offer(std::span<const std::byte> header, std::span<const std::byte> source,
                            LinkCompletion on_sent) {
  if (header.size() > kMaxHeaderBytes) {
    return port_->complete_later(
        std::move(on_sent),
        {StatusCode::kInvalidArgument, "the header has " + std::to_string(header.size()) +
                                           " bytes; at most " + std::to_string(kMaxHeaderBytes)});
  }
  port_->offer(header, source, std::move(on_sent));
}

void HostOffloadLink::close(std::function<void()> on_quiet) {
  hub_->remove(address_);
  port_->close(std::move(on_quiet));
}

}  // namespace kvferry
