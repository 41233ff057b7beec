#include "transports/host_offload/host_offload_port.h"

#include <string>
#include <string_view>

#include "cuda/memory_query.h"

namespace kvferry {
namespace {

Status check_place(const std::byte* address, const std::string& what) {
  KVFERRY_ASSIGN_OR_RETURN(const MemoryPlace place, find_memory(address));
  if (place.kind != MemoryPlace::Kind::kPageableHost) return {};
  return make_error(StatusCode::kInvalidArgument,
                    "the " + what +
                        " is pageable host memory, which makes CUDA's callers wait; allocate it "
                        "pinned, or register it with CUDA");
}

Status peer_closed() { return {StatusCode::kUnavailable, "the peer closed its link"}; }

/// What the sender hears of an accepted offer that ended without a copy.
Status refusal_for(const Status& receiver) {
  switch (receiver.code()) {
    case StatusCode::kCancelled:
      return peer_closed();
    case StatusCode::kInvalidArgument:
      return {StatusCode::kFailedPrecondition,
              "the peer's link refused its memory: " + std::string(receiver.message())};
    default:
      return receiver;
  }
}

}  // namespace

void HostOffloadPort::Arrival::end(Status status) const {
  sender->post([sender = sender, id = id, status = std::move(status)] {
    sender->finish_send(id, status);
    sender->deliver();
  });
}

bool HostOffloadPort::post(Executor::Task task) {
  // Posting under the lock keeps detach(), and so the end of the executor, out meanwhile. The
  // executor's own lock comes after this one and never calls back.
  MutexLock lock(mutex_);
  if (executor_ == nullptr) return false;
  executor_->post(std::move(task));
  return true;
}

void HostOffloadPort::set_offer_handler(OfferHandler handler) {
  handler_ = std::make_shared<OfferHandler>(std::move(handler));
}

Status HostOffloadPort::connect(std::shared_ptr<HostOffloadPort> peer) {
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

void HostOffloadPort::offer(std::span<const std::byte> header, std::span<const std::byte> source,
                            LinkCompletion on_sent) {
  if (closed_) {
    return complete_later(std::move(on_sent), {StatusCode::kCancelled, "the link is closed"});
  }
  if (peer_ == nullptr) {
    return complete_later(std::move(on_sent), {StatusCode::kFailedPrecondition,
                                               "the link is not connected; call connect first"});
  }
  if (Status place = source.empty() ? Status() : check_place(source.data(), "source");
      !place.is_ok()) {
    return complete_later(std::move(on_sent), std::move(place));
  }
  auto offer = std::make_shared<HostOffloadOffer>(header, source);
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

void HostOffloadPort::arrive(Arrival arrival) {
  waiting_.push_back(std::move(arrival));
  if (peer_ != nullptr || closed_) receive_waiting();
}

void HostOffloadPort::receive_waiting() {
  while (!waiting_.empty()) {
    Arrival arrival = std::move(waiting_.front());
    waiting_.pop_front();
    if (closed_) {
      arrival.end(peer_closed());
    } else {
      receive(std::move(arrival));
    }
  }
}

void HostOffloadPort::receive(Arrival arrival) {
  const std::shared_ptr<OfferHandler> handler = handler_;
  OfferReply reply = (*handler)(arrival.offer->header(), arrival.offer->payload_bytes());
  if (const auto* refuse = std::get_if<RefuseOffer>(&reply)) {
    return arrival.end(
        {StatusCode::kFailedPrecondition,
         "the peer refused the offer: " + std::string(status_code_name(refuse->code))});
  }
  auto& accept = std::get<AcceptOffer>(reply);
  if (Status fit = check_accept(accept, arrival.offer->payload_bytes()); !fit.is_ok()) {
    arrival.end(refusal_for(fit));
    return complete_later(std::move(accept.on_received), std::move(fit));
  }
  accepted_.push_back({std::move(arrival), std::move(accept)});
  begin_copies();
}

Status HostOffloadPort::check_accept(const AcceptOffer& accept, size_t payload_bytes) const {
  if (closed_) return {StatusCode::kCancelled, "the link was closed by its offer handler"};
  if (accept.destination.size() < payload_bytes) {
    return {StatusCode::kInvalidArgument,
            "the destination is too small: " + std::to_string(accept.destination.size()) +
                " bytes for " + std::to_string(payload_bytes)};
  }
  if (payload_bytes == 0) return {};
  return check_place(accept.destination.data(), "destination");
}

void HostOffloadPort::begin_copies() {
  while (!accepted_.empty() && copying_.size() < lane_->events.size()) {
    Receiving next = std::move(accepted_.front());
    accepted_.pop_front();
    CudaEvent& event = lane_->events[next_event_ % lane_->events.size()];
    if (!next.arrival.offer->begin_copy(next.accept.destination, lane_->stream.view(), event)) {
      complete_later(std::move(next.accept.on_received), peer_closed());
      continue;  // the sender has ended it
    }
    ++next_event_;
    copying_.push_back(std::move(next));
  }
}

bool HostOffloadPort::progress() {
  const auto self = shared_from_this();  // on_quiet may destroy the link
  bool any = end_copies();
  any = end_copied_sends() || any;
  if (!any) return false;
  begin_copies();
  deliver();
  return true;
}

bool HostOffloadPort::end_copies() {
  bool any = false;
  while (!copying_.empty()) {
    const std::optional<Status> copied = copying_.front().arrival.offer->poll();
    if (!copied) break;
    const Receiving ended = std::move(copying_.front());
    copying_.pop_front();
    any = true;
    ended.arrival.end(closed_ && copied->is_ok() ? peer_closed() : *copied);
    done_.emplace_back(ended.accept.on_received, seen_here(*copied));
  }
  return any;
}

// What is left once closed is being copied. The peer's executor may be busy: this side looks
// itself.
bool HostOffloadPort::end_copied_sends() {
  if (!waits_for_peer()) return false;
  std::vector<std::pair<uint64_t, Status>> ended;
  for (const auto& [id, sending] : sends_) {
    if (std::optional<Status> copied = sending.offer->poll()) {
      ended.emplace_back(id, *std::move(copied));
    }
  }
  for (const auto& [id, status] : ended) finish_send(id, status);
  return !ended.empty();
}

void HostOffloadPort::finish_send(uint64_t id, const Status& status) {
  auto node = sends_.extract(id);
  if (!node.empty()) done_.emplace_back(std::move(node.mapped().on_sent), seen_here(status));
}

// Whatever was open at close() ends as cancelled, unless the device was lost.
Status HostOffloadPort::seen_here(const Status& status) const {
  if (!closed_ || status.code() == StatusCode::kDeviceLost) return status;
  return {StatusCode::kCancelled, "the link was closed"};
}

void HostOffloadPort::close(std::function<void()> on_quiet) {
  if (on_quiet) quiet_callbacks_.push_back(std::move(on_quiet));
  if (!closed_) {
    closed_ = true;
    withdraw_sends();
    cancel_accepted();
    post([self = shared_from_this()] { self->receive_waiting(); });  // turns them away
  }
  deliver_later();
}

void HostOffloadPort::withdraw_sends() {
  for (auto send = sends_.begin(); send != sends_.end();) {
    Sending& sending = send->second;
    if (!sending.offer->withdraw()) {
      ++send;
      continue;
    }
    done_.emplace_back(std::move(sending.on_sent), seen_here({}));
    send = sends_.erase(send);
  }
}

void HostOffloadPort::cancel_accepted() {
  while (!accepted_.empty()) {
    const Receiving cancelled = std::move(accepted_.front());
    accepted_.pop_front();
    cancelled.arrival.end(peer_closed());
    done_.emplace_back(cancelled.accept.on_received, seen_here({}));
  }
}

void HostOffloadPort::detach() {
  Executor* executor = nullptr;
  {
    MutexLock lock(mutex_);
    executor = std::exchange(executor_, nullptr);
  }
  executor->remove_progress_source(this);
  closed_ = true;
  detached_ = true;
  withdraw_sends();
  for (auto& [id, sending] : sends_) sending.offer->wait().ignore("nobody is called back");
  sends_.clear();
  cancel_accepted();
  for (const Receiving& receiving : copying_) {
    const Status copied = receiving.arrival.offer->wait();
    receiving.arrival.end(copied.is_ok() ? peer_closed() : copied);
  }
  copying_.clear();
  receive_waiting();  // turns them away
  done_.clear();
  quiet_callbacks_.clear();
  handler_.reset();
  peer_.reset();
  lane_.reset();
}

void HostOffloadPort::complete_later(LinkCompletion completion, Status status) {
  done_.emplace_back(std::move(completion), std::move(status));
  deliver_later();
}

void HostOffloadPort::deliver_later() {
  if (std::exchange(delivery_posted_, true)) return;
  post([self = shared_from_this()] {
    self->delivery_posted_ = false;
    self->deliver();
  });
}

void HostOffloadPort::deliver() {
  while (!done_.empty()) {
    const auto [completion, status] = std::move(done_.front());
    done_.pop_front();
    if (completion) completion(status);
  }
  const bool is_quiet = closed_ && copying_.empty() && sends_.empty();
  if (!is_quiet) return;
  for (const auto& on_quiet : std::exchange(quiet_callbacks_, {})) {
    if (!detached_) on_quiet();
  }
}

}  // namespace kvferry
