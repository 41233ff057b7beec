#pragma once

#include <memory>
#include <string>

#include "core/port_hub.h"
#include "kvferry/transport.h"
#include "transports/loopback/loopback_port.h"

namespace kvferry {

/// The owner of a LoopbackPort: its life decides what the port may still use.
///
/// Threads: the executor it was opened on
class LoopbackLink final : public Link {
 public:
  LoopbackLink(std::shared_ptr<PortHub<LoopbackPort>> hub, Executor& executor);
  ~LoopbackLink() override;
  LoopbackLink(const LoopbackLink&) = delete;
  LoopbackLink& operator=(const LoopbackLink&) = delete;

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
  const std::shared_ptr<PortHub<LoopbackPort>> hub_;
  const std::shared_ptr<LoopbackPort> port_;
  const std::string address_;
  const LinkCapabilities capabilities_;
};

}  // namespace kvferry
