#include "transports/loopback/loopback_port.h"

#include <cstring>
#include <string>

namespace kvferry {
namespace {

void call(const LinkCompletion& completion, Status status) {
  if (completion) completion(std::move(status));
}

}  // namespace

bool LoopbackOffer::copy_to(std::span<std::byte> destination) {
  MutexLock lock(mutex_);
  if (withdrawn_) return false;
  if (!source_.empty()) std::memcpy(destination.data(), source_.data(), source_.size());
  return true;
}

void LoopbackOffer::withdraw() {
  MutexLock lock(mutex_);
  withdrawn_ = true;
}

bool LoopbackPort::post(Executor::Task task) {
  // Posting under the lock keeps detach(), and so the end of the executor, out meanwhile. The
  // executor's own lock comes after this one and never calls back.
  MutexLock lock(mutex_);
  if (executor_ == nullptr) return false;
  executor_->post(std::move(task));
  return true;
}

void LoopbackPort::set_offer_handler(OfferHandler handler) {
  handler_ = std::make_shared<OfferHandler>(std::move(handler));
}

Status LoopbackPort::connect(std::shared_ptr<LoopbackPort> peer) {
  if (closed_) return make_error(StatusCode::kFailedPrecondition, "the link is closed");
  if (peer_ != nullptr) {
    return make_error(StatusCode::kFailedPrecondition,
                      "the link is connected already; open another link for another peer");
  }
  if (handler_ == nullptr || !*handler_) {
    return make_error(StatusCode::kFailedPrecondition,
                      "the link has no offer handler; call set_offer_handler before connect");
  }
  peer_ = std::move(peer);
  post([self = shared_from_this()] { self->receive_waiting(); });
  return {};
}

void LoopbackPort::offer(std::span<const std::byte> header, std::span<const std::byte> source,
                         LinkCompletion on_sent) {
  if (closed_) {
    return complete_later(std::move(on_sent), {StatusCode::kCancelled, "the link is closed"});
  }
  if (peer_ == nullptr) {
    return complete_later(std::move(on_sent), {StatusCode::kFailedPrecondition,
                                               "the link is not connected; call connect first"});
  }
  auto offer = std::make_shared<LoopbackOffer>(header, source);
  const uint64_t id = next_send_++;
  Arrival arrival{offer, shared_from_this(), id};
  const bool posted = peer_->post(
      [peer = peer_, arrival = std::move(arrival)]() mutable { peer->arrive(std::move(arrival)); });
  if (!posted) {
    return complete_later(std::move(on_sent),
                          {StatusCode::kUnavailable, "the peer's link no longer exists"});
  }
  sends_.emplace(id, Sending{std::move(offer), std::move(on_sent)});
}

void LoopbackPort::arrive(Arrival arrival) {
  waiting_.push_back(std::move(arrival));
  if (peer_ != nullptr || closed_) receive_waiting();
}

void LoopbackPort::receive_waiting() {
  while (!waiting_.empty()) {
    const Arrival arrival = std::move(waiting_.front());
    waiting_.pop_front();
    Status outcome = closed_ ? Status(StatusCode::kUnavailable, "the peer closed its link")
                             : receive(arrival.offer);
    arrival.sender->post([sender = arrival.sender, id = arrival.id, outcome = std::move(outcome)] {
      sender->finish_send(id, outcome);
    });
  }
}

Status LoopbackPort::receive(const std::shared_ptr<LoopbackOffer>& offer) {
  const std::shared_ptr<OfferHandler> handler = handler_;
  OfferReply reply = (*handler)(offer->header(), offer->payload_bytes());
  if (const auto* refuse = std::get_if<RefuseOffer>(&reply)) {
    return {StatusCode::kFailedPrecondition,
            "the peer refused the offer: " + std::string(status_code_name(refuse->code))};
  }
  const auto& accept = std::get<AcceptOffer>(reply);
  if (closed_) {
    call(accept.on_received, {StatusCode::kCancelled, "the link was closed by its offer handler"});
    return {StatusCode::kUnavailable, "the peer closed its link"};
  }
  if (accept.destination.size() < offer->payload_bytes()) {
    const std::string sizes = std::to_string(accept.destination.size()) + " bytes for " +
                              std::to_string(offer->payload_bytes());
    call(accept.on_received,
         {StatusCode::kInvalidArgument, "the destination is too small: " + sizes});
    return {StatusCode::kFailedPrecondition, "the peer's destination is too small: " + sizes};
  }
  if (!offer->copy_to(accept.destination)) {
    call(accept.on_received, {StatusCode::kUnavailable, "the peer closed its link"});
    return {StatusCode::kCancelled, "the link is closed"};
  }
  call(accept.on_received, {});
  return {};
}

void LoopbackPort::finish_send(uint64_t id, const Status& status) {
  auto node = sends_.extract(id);
  if (!node.empty()) call(node.mapped().on_sent, status);
}

void LoopbackPort::withdraw_sends(bool complete) {
  std::unordered_map<uint64_t, Sending> sends = std::exchange(sends_, {});
  for (auto& [id, sending] : sends) {
    sending.offer->withdraw();
    if (!complete) continue;
    complete_later(std::move(sending.on_sent), {StatusCode::kCancelled, "the link was closed"});
  }
}

void LoopbackPort::close(std::function<void()> on_quiet) {
  if (on_quiet) quiet_callbacks_.push_back(std::move(on_quiet));
  if (!closed_) {
    closed_ = true;
    withdraw_sends(true);
    post([self = shared_from_this()] { self->receive_waiting(); });  // turns them away
  }
  deliver_later();
}

void LoopbackPort::detach() {
  {
    MutexLock lock(mutex_);
    executor_ = nullptr;
  }
  closed_ = true;
  detached_ = true;
  withdraw_sends(false);
  receive_waiting();  // turns them away
  done_.clear();
  quiet_callbacks_.clear();
  handler_.reset();
  peer_.reset();
}

void LoopbackPort::complete_later(LinkCompletion completion, Status status) {
  done_.emplace_back(std::move(completion), std::move(status));
  deliver_later();
}

void LoopbackPort::deliver_later() {
  if (std::exchange(delivery_posted_, true)) return;
  post([self = shared_from_this()] { self->deliver(); });
}

void LoopbackPort::deliver() {
  delivery_posted_ = false;
  while (!done_.empty()) {
    const auto [completion, status] = std::move(done_.front());
    done_.pop_front();
    call(completion, status);
  }
  if (!closed_) return;
  for (const auto& on_quiet : std::exchange(quiet_callbacks_, {})) {
    if (!detached_) on_quiet();
  }
}

}  // namespace kvferry
