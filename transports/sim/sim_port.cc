#include "transports/sim/sim_port.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "transports/sim/sim_transport.h"

namespace kvferry {
namespace {

// A receiver copies in so many parts at least, so that there is a middle to be stopped in.
constexpr size_t kParts = 3;

}  // namespace

Status SimPort::connect(std::string_view peer_address) {
  if (state_ != State::kOpened) {
    return {StatusCode::kFailedPrecondition, "the link is connected already or closed"};
  }
  if (!handler_) {
    return {StatusCode::kFailedPrecondition, "the link has no offer handler"};
  }
  const bool is_address = peer_address.starts_with(kSimAddressPrefix) &&
                          peer_address.find_first_not_of("0123456789", kSimAddressPrefix.size()) ==
                              std::string_view::npos;
  if (!is_address) {
    return {StatusCode::kInvalidArgument, "the address is not one of a simulated link"};
  }
  if (network_.find(peer_address) == nullptr) {
    return {StatusCode::kUnavailable, "no link has the address " + std::string(peer_address)};
  }
  peer_address_ = peer_address;
  state_ = State::kConnected;
  for (OfferPtr& offer : std::exchange(early_, {})) {
    executor_->post([self = shared_from_this(), offer = std::move(offer)] { self->arrive(offer); });
  }
  return {};
}

void SimPort::complete_later(LinkCompletion completion, Status status) {
  if (state_ == State::kDetached) return;
  executor_->post(
      [self = shared_from_this(), completion = std::move(completion), status = std::move(status)] {
        if (self->state_ != State::kDetached) completion(status);
      });
}

// ---- out

void SimPort::offer(std::span<const std::byte> header, std::span<const std::byte> source,
                    LinkCompletion on_sent) {
  if (state_ == State::kOpened) {
    return complete_later(std::move(on_sent),
                          {StatusCode::kFailedPrecondition, "the link is not connected"});
  }
  if (!is_live()) {
    return complete_later(std::move(on_sent), {StatusCode::kCancelled, "the link is closed"});
  }
  if (header.size() > kSimMaxHeaderBytes) {
    return complete_later(std::move(on_sent),
                          {StatusCode::kInvalidArgument, "the header is too large"});
  }
  auto offer = std::make_shared<Offer>();
  offer->id = next_id_++;
  offer->header.assign(header.begin(), header.end());
  offer->source = source;
  offer->stamp = network_.memory() == nullptr ? 0 : network_.memory()->stamp(source);
  offer->from = weak_from_this();
  offer->process = &executor_->process();
  offer->is_withdrawn = is_withdrawn_;
  sending_.emplace(offer->id, Sending{offer, std::move(on_sent)});
  const SimFaults& faults = network_.faults();
  if (network_.strikes(faults.lose_offer)) return network_.count_loss();
  if (network_.strikes(faults.fail_offer)) {
    return tell_sender(offer, {StatusCode::kUnavailable, "the simulated wire failed"});
  }
  deliver(offer);
  if (!network_.strikes(faults.duplicate_offer)) return;
  const auto duplicate = std::make_shared<Offer>(*offer);
  duplicate->from.reset();  // what becomes of it is not what became of the offer
  deliver(duplicate);
}

void SimPort::deliver(const OfferPtr& offer) {
  SimWorld& world = network_.world();
  const TimePoint when = world.now() + network_.latency();
  const bool overtakes = network_.strikes(network_.faults().reorder);
  if (!overtakes) last_delivery_ = std::max(last_delivery_, when);
  world.after((overtakes ? when : last_delivery_) - world.now(),
              [self = shared_from_this(), offer, peer = peer_address_] {
                const std::shared_ptr<SimPort> to = self->network_.find(peer);
                if (!to) {
                  self->tell_sender(offer, {StatusCode::kUnavailable, "the peer's link is gone"});
                } else if (to->state_ == State::kOpened) {
                  to->early_.push_back(offer);
                } else {
                  to->executor_->post([to, offer] { to->arrive(offer); });
                }
              });
}

void SimPort::tell_sender(const OfferPtr& offer, Status status) {
  if (network_.strikes(network_.faults().lose_sent)) return network_.count_loss();
  network_.world().after(network_.latency(), [offer, status = std::move(status)] {
    const std::shared_ptr<SimPort> from = offer->from.lock();
    if (!from || from->state_ == State::kDetached) return;
    from->executor_->post([from, id = offer->id, status] { from->finish_send(id, status); });
  });
}

void SimPort::finish_send(uint64_t offer_id, const Status& status) {
  const auto found = sending_.find(offer_id);
  if (found == sending_.end() || state_ == State::kDetached) return;
  const LinkCompletion on_sent = std::move(found->second.on_sent);
  sending_.erase(found);
  on_sent(status);
}

// ---- in

void SimPort::arrive(const OfferPtr& offer) {
  if (!is_live()) {
    return tell_sender(offer, {StatusCode::kUnavailable, "the peer's link is closed"});
  }
  OfferReply reply = handler_(offer->header, offer->source.size());
  auto* const accept = std::get_if<AcceptOffer>(&reply);
  if (accept == nullptr) {
    return tell_sender(offer, {StatusCode::kFailedPrecondition, "the peer refused the offer"});
  }
  if (!is_live()) {  // by the handler
    complete_later(std::move(accept->on_received), {StatusCode::kCancelled, "the link was closed"});
    return tell_sender(offer, {StatusCode::kUnavailable, "the peer's link is closed"});
  }
  if (accept->destination.size() < offer->source.size()) {
    complete_later(std::move(accept->on_received),
                   {StatusCode::kInvalidArgument, "the destination is too small"});
    return tell_sender(offer, {StatusCode::kFailedPrecondition, "the peer refused the offer"});
  }
  const uint64_t id = next_id_++;
  SimMemory* const memory = network_.memory();
  const std::span<std::byte> destination = accept->destination.first(offer->source.size());
  receiving_.emplace(
      id, Receiving{offer, destination, memory == nullptr ? 0 : memory->stamp(destination),
                    std::move(accept->on_received)});
  copy_some(id);
}

void SimPort::copy_some(uint64_t receive_id) {
  network_.world().after(network_.latency(), [self = shared_from_this(), receive_id] {
    if (self->state_ == State::kDetached) return;
    self->executor_->post([self, receive_id] {
      const auto found = self->receiving_.find(receive_id);
      if (found == self->receiving_.end()) return;
      Receiving& receiving = found->second;
      const Status status = self->copy_part(receiving);
      if (!status.is_ok() || receiving.done_bytes == receiving.destination.size()) {
        self->finish_receive(receive_id, status);
      } else {
        self->copy_some(receive_id);
      }
    });
  });
}

Status SimPort::copy_part(Receiving& receiving) {
  const Offer& offer = *receiving.offer;
  if (!offer.process->is_alive()) return {StatusCode::kUnavailable, "the peer's process is gone"};
  if (*offer.is_withdrawn) return {StatusCode::kUnavailable, "the peer withdrew its offer"};
  const size_t size = receiving.destination.size();
  const size_t begin = receiving.done_bytes;
  const size_t bytes = std::min(size - begin, size / kParts + 1);
  const auto source = offer.source.subspan(begin, bytes);
  const auto destination = receiving.destination.subspan(begin, bytes);
  if (SimMemory* const memory = network_.memory()) {
    memory->touch(source, offer.stamp,
                  executor_->process().name() + " reads a source of " + offer.process->name());
    memory->touch(destination, receiving.stamp, executor_->process().name() + " writes a landing");
  }
  if (bytes > 0) std::memcpy(destination.data(), source.data(), bytes);
  if (bytes > 0 && network_.strikes(network_.faults().corrupt)) {
    destination[network_.world().random().below(bytes)] ^= std::byte{1};
  }
  receiving.done_bytes += bytes;
  return {};
}

void SimPort::finish_receive(uint64_t receive_id, const Status& status) {
  const auto found = receiving_.find(receive_id);
  const Receiving receiving = std::move(found->second);
  receiving_.erase(found);
  tell_sender(receiving.offer, status);
  receiving.on_received(status);
}

// ---- end

void SimPort::close(std::function<void()> on_quiet) {
  if (state_ == State::kOpened || state_ == State::kConnected) {
    state_ = State::kClosed;
    *is_withdrawn_ = fences_sources_;
    network_.remove(address_);
    const Status closed(StatusCode::kCancelled, "the link was closed");
    for (auto& [id, sending] : std::exchange(sending_, {})) {
      complete_later(std::move(sending.on_sent), closed);
    }
    for (auto& [id, receiving] : std::exchange(receiving_, {})) {
      tell_sender(receiving.offer, {StatusCode::kUnavailable, "the peer's link is closed"});
      complete_later(std::move(receiving.on_received), closed);
    }
  }
  if (!on_quiet) return;
  network_.world().after(network_.latency(), [self = shared_from_this(), on_quiet] {
    self->complete_later([on_quiet](const Status&) { on_quiet(); }, {});
  });
}

void SimPort::detach() {
  network_.remove(address_);
  *is_withdrawn_ = fences_sources_;
  for (auto& [id, receiving] : receiving_) {
    tell_sender(receiving.offer, {StatusCode::kUnavailable, "the peer's link is gone"});
  }
  state_ = State::kDetached;
  sending_.clear();
  receiving_.clear();
  handler_ = nullptr;
}

}  // namespace kvferry
