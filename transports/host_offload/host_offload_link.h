#pragma once

#include <memory>
#include <string>

#include "core/port_hub.h"
#include "kvferry/transport.h"
#include "transports/host_offload/copy_lane.h"
#include "transports/host_offload/host_offload_port.h"

namespace kvferry {

/// The owner of a HostOffloadPort: its life decides what the port may still use.
///
/// Threads: the executor it was opened on
class HostOffloadLink final : public Link {
 public:
  /// Errors: those of Executor::add_progress_source
  static Result<std::unique_ptr<HostOffloadLink>> open(
      std::shared_ptr<PortHub<HostOffloadPort>> hub, CopyLane lane, Executor& executor);
  ~HostOffloadLink() override;
  HostOffloadLink(const HostOffloadLink&) = delete;
  HostOffloadLink& operator=(const HostOffloadLink&) = delete;

  std::string address() const override { return address_; }
  Status connect(std::string_view peer_address) override;
  void set_offer_handler(OfferHandler handler) override {
    port_->set_offer_handler(std::move(handler));
  }
  void offer(std::span<const std::byte> header, std::span<const std::byte> source,
             LinkCompletion on_sent) override;
  void close(std::function<void()> on_quiet) override;
  const LinkCapabilities& capabilities() const override { return capabilities_; }

 private:
  HostOffloadLink(std::shared_ptr<PortHub<HostOffloadPort>> hub,
                  std::shared_ptr<HostOffloadPort> port, int32_t device);

  const std::shared_ptr<PortHub<HostOffloadPort>> hub_;
  const std::shared_ptr<HostOffloadPort> port_;
  const std::string address_;
  const LinkCapabilities capabilities_;
};

}  // namespace kvferry
