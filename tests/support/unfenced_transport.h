#pragma once

#include <memory>
#include <utility>

#include "kvferry/transport.h"

namespace kvferry {

/// Another transport, said not to fence its sources, as one whose peers pull by themselves (CMA).
///
/// Threads: as the other
class UnfencedTransport final : public Transport {
 public:
  explicit UnfencedTransport(std::shared_ptr<Transport> inner) : inner_(std::move(inner)) {}

  std::string_view name() const override { return inner_->name(); }
  Status is_available(PeerClass peer_class) const override {
    return inner_->is_available(peer_class);
  }
  Result<std::unique_ptr<Link>> open_link(PeerClass peer_class, Executor& executor) override {
    KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<Link> link, inner_->open_link(peer_class, executor));
    return std::make_unique<UnfencedLink>(std::move(link));
  }

 private:
  class UnfencedLink final : public Link {
   public:
    explicit UnfencedLink(std::unique_ptr<Link> inner)
        : inner_(std::move(inner)), capabilities_(inner_->capabilities()) {
      capabilities_.fences_sources = false;
    }
    std::string address() const override { return inner_->address(); }
    Status connect(std::string_view address) override { return inner_->connect(address); }
    void set_offer_handler(OfferHandler handler) override {
      inner_->set_offer_handler(std::move(handler));
    }
    void offer(std::span<const std::byte> header, std::span<const std::byte> source,
               LinkCompletion on_sent) override {
      inner_->offer(header, source, std::move(on_sent));
    }
    void close(std::function<void()> on_quiet) override { inner_->close(std::move(on_quiet)); }
    const LinkCapabilities& capabilities() const override { return capabilities_; }

   private:
    const std::unique_ptr<Link> inner_;
    LinkCapabilities capabilities_;
  };

  const std::shared_ptr<Transport> inner_;
};

}  // namespace kvferry
