#pragma once

#include <memory>
#include <utility>

#include "kvferry/transport.h"

namespace kvferry {

/// Another link; a test overrides what is to be different.
///
/// Threads: as the other
class WrappedLink : public Link {
 public:
  explicit WrappedLink(std::unique_ptr<Link> inner)
      : inner_(std::move(inner)), capabilities_(inner_->capabilities()) {}

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

 protected:
  Link& inner() { return *inner_; }
  LinkCapabilities& own_capabilities() { return capabilities_; }

 private:
  const std::unique_ptr<Link> inner_;
  LinkCapabilities capabilities_;
};

/// Another transport, with links of type `Wrapper` around its links.
///
/// Threads: as the other
template <typename Wrapper>
class WrappedTransport final : public Transport {
 public:
  explicit WrappedTransport(std::shared_ptr<Transport> inner) : inner_(std::move(inner)) {}

  std::string_view name() const override { return inner_->name(); }
  Status is_available(PeerClass peer_class) const override {
    return inner_->is_available(peer_class);
  }
  Result<std::unique_ptr<Link>> open_link(PeerClass peer_class, Executor& executor) override {
    KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<Link> link, inner_->open_link(peer_class, executor));
    return std::make_unique<Wrapper>(std::move(link));
  }

 private:
  const std::shared_ptr<Transport> inner_;
};

/// Said not to fence its sources, as one whose peers pull by themselves (CMA).
class UnfencedLink final : public WrappedLink {
 public:
  explicit UnfencedLink(std::unique_ptr<Link> inner) : WrappedLink(std::move(inner)) {
    own_capabilities().fences_sources = false;
  }
};
using UnfencedTransport = WrappedTransport<UnfencedLink>;

}  // namespace kvferry
