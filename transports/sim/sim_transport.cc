#include "transports/sim/sim_transport.h"

#include <utility>

#include "transports/sim/sim_port.h"

namespace kvferry {
namespace {

class SimLink final : public Link {
 public:
  SimLink(SimNetwork& network, SimExecutor& executor, bool fences_sources)
      : port_(std::make_shared<SimPort>(network, executor, fences_sources)),
        address_(network.add(port_)) {
    port_->set_address(address_);
    capabilities_.fences_sources = fences_sources;
    capabilities_.max_header_bytes = kSimMaxHeaderBytes;
    capabilities_.path = fences_sources ? "sim, fenced" : "sim, receiver pulls";
  }
  ~SimLink() override { port_->detach(); }
  SimLink(const SimLink&) = delete;
  SimLink& operator=(const SimLink&) = delete;

  std::string address() const override { return address_; }
  Status connect(std::string_view peer_address) override { return port_->connect(peer_address); }
  void set_offer_handler(OfferHandler handler) override {
    port_->set_offer_handler(std::move(handler));
  }
  void offer(std::span<const std::byte> header, std::span<const std::byte> source,
             LinkCompletion on_sent) override {
    port_->offer(header, source, std::move(on_sent));
  }
  void close(std::function<void()> on_quiet) override { port_->close(std::move(on_quiet)); }
  const LinkCapabilities& capabilities() const override { return capabilities_; }

 private:
  const std::shared_ptr<SimPort> port_;
  const std::string address_;
  LinkCapabilities capabilities_;
};

}  // namespace

std::string SimNetwork::add(std::weak_ptr<SimPort> port) {
  std::string address = std::string(kSimAddressPrefix) + std::to_string(next_id_++);
  ports_.emplace(address, std::move(port));
  return address;
}

std::shared_ptr<SimPort> SimNetwork::find(std::string_view address) const {
  const auto found = ports_.find(address);
  return found == ports_.end() ? nullptr : found->second.lock();
}

void SimNetwork::remove(std::string_view address) {
  const auto found = ports_.find(address);
  if (found != ports_.end()) ports_.erase(found);
}

bool SimNetwork::strikes(uint32_t per_million) {
  const bool strikes = world_.random().chance(per_million);
  if (strikes) world_.count_fault();
  return strikes;
}

Duration SimNetwork::latency() {
  if (strikes(faults_.late)) return faults_.slow_latency;
  return world_.random().between(faults_.min_latency, faults_.max_latency);
}

Result<std::unique_ptr<Link>> SimTransport::open_link(PeerClass peer_class, Executor& executor) {
  auto* const own = dynamic_cast<SimExecutor*>(&executor);
  if (own == nullptr) {
    return make_error(StatusCode::kInvalidArgument,
                      "simulated links live on executors of a simulated world");
  }
  return std::unique_ptr<Link>(
      std::make_unique<SimLink>(network_, *own, peer_class != PeerClass::kSameHostPull));
}

}  // namespace kvferry
