#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kvferry/mutex.h"
#include "kvferry/transport.h"
#include "transports/host_offload/copy_lane.h"
#include "transports/host_offload/host_offload_offer.h"

namespace kvferry {

/// The half of a HostOffloadLink that outlives it: tasks under way on either executor hold it, and
/// find it detached when the link is gone. As the receiver it begins copies and polls their events.
///
/// Threads: post() any thread, internally locked; the rest on the link's executor
class HostOffloadPort final : public ProgressSource,
                              public std::enable_shared_from_this<HostOffloadPort> {
 public:
  HostOffloadPort(CopyLane lane, Executor& executor)
      : executor_(&executor), lane_(std::move(lane)) {}

  /// Runs `task` on the port's executor. False: the link is gone, `task` never runs.
  bool post(Executor::Task task) KVFERRY_EXCLUDES(mutex_);

  void set_offer_handler(OfferHandler handler);
  Status connect(std::shared_ptr<HostOffloadPort> peer);
  void offer(std::span<const std::byte> header, std::span<const std::byte> source,
             LinkCompletion on_sent);
  void close(std::function<void()> on_quiet);
  /// Calls `completion` from a task of its own.
  void complete_later(LinkCompletion completion, Status status);
  /// The link is being destroyed: waits for the copies of its memory; its executor is not used and
  /// nothing is called back from here on.
  void detach() KVFERRY_EXCLUDES(mutex_);

  bool progress() override;
  int event_fd() const override { return -1; }
  /// CUDA has no descriptor to sleep on: while a copy is open, it is polled.
  bool arm() override { return copying_.empty() && !waits_for_peer(); }

 private:
  struct Sending {
    std::shared_ptr<HostOffloadOffer> offer;
    LinkCompletion on_sent;
  };
  struct Arrival {
    std::shared_ptr<HostOffloadOffer> offer;
    std::shared_ptr<HostOffloadPort> sender;
    uint64_t id = 0;

    void end(Status status) const;
  };
  struct Receiving {
    Arrival arrival;
    AcceptOffer accept;
  };

  void arrive(Arrival arrival);
  void receive_waiting();
  void receive(Arrival arrival);
  Status check_accept(const AcceptOffer& accept, size_t payload_bytes) const;
  void begin_copies();
  bool end_copies();
  bool end_copied_sends();
  void withdraw_sends();
  void cancel_accepted();
  void finish_send(uint64_t id, const Status& status);
  /// Closed, while a copy reads a source of ours.
  bool waits_for_peer() const { return closed_ && !sends_.empty(); }
  Status seen_here(const Status& status) const;
  void deliver_later();
  void deliver();

  Mutex mutex_;
  Executor* executor_ KVFERRY_GUARDED_BY(mutex_);  // null once the link is gone

  // Executor only.
  std::optional<CopyLane> lane_;           // until the link is gone
  std::shared_ptr<OfferHandler> handler_;  // shared with a call under way
  std::shared_ptr<HostOffloadPort> peer_;
  std::unordered_map<uint64_t, Sending> sends_;
  uint64_t next_send_ = 0;
  std::deque<Arrival> waiting_;     // for connect()
  std::deque<Receiving> accepted_;  // for an event
  std::deque<Receiving> copying_;   // in the stream's order
  size_t next_event_ = 0;           // behind the newest copy's
  std::deque<std::pair<LinkCompletion, Status>> done_;
  std::vector<std::function<void()>> quiet_callbacks_;
  bool delivery_posted_ = false;
  bool closed_ = false;
  bool detached_ = false;
};

}  // namespace kvferry
