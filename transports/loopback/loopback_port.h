#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kvferry/mutex.h"
#include "kvferry/transport.h"

namespace kvferry {

/// One offer under way, held by both sides; decides who may still read the source.
///
/// Threads: any thread, internally locked
class LoopbackOffer {
 public:
  LoopbackOffer(std::span<const std::byte> header, std::span<const std::byte> source)
      : header_(header.begin(), header.end()), source_(source) {}

  std::span<const std::byte> header() const { return header_; }
  size_t payload_bytes() const { return source_.size(); }

  /// Copies the source, under the lock that withdraw() takes. False: withdrawn, nothing written.
  bool copy_to(std::span<std::byte> destination) KVFERRY_EXCLUDES(mutex_);
  /// The source is not read any more once this returns; waits for a copy under way.
  void withdraw() KVFERRY_EXCLUDES(mutex_);

 private:
  const std::vector<std::byte> header_;
  const std::span<const std::byte> source_;
  Mutex mutex_;
  bool withdrawn_ KVFERRY_GUARDED_BY(mutex_) = false;
};

/// The half of a LoopbackLink that outlives it: tasks under way on either executor hold it, and
/// find it detached when the link is gone.
///
/// Threads: post() any thread, internally locked; the rest on the link's executor
class LoopbackPort : public std::enable_shared_from_this<LoopbackPort> {
 public:
  explicit LoopbackPort(Executor& executor) : executor_(&executor) {}

  /// Runs `task` on the port's executor. False: the link is gone, `task` never runs.
  bool post(Executor::Task task) KVFERRY_EXCLUDES(mutex_);

  void set_offer_handler(OfferHandler handler);
  Status connect(std::shared_ptr<LoopbackPort> peer);
  void offer(std::span<const std::byte> header, std::span<const std::byte> source,
             LinkCompletion on_sent);
  void close(std::function<void()> on_quiet);
  /// Calls `completion` from a task of its own.
  void complete_later(LinkCompletion completion, Status status);
  /// The link is being destroyed: its executor is not used and nothing is called back from here on.
  void detach() KVFERRY_EXCLUDES(mutex_);

 private:
  struct Sending {
    std::shared_ptr<LoopbackOffer> offer;
    LinkCompletion on_sent;
  };
  struct Arrival {
    std::shared_ptr<LoopbackOffer> offer;
    std::shared_ptr<LoopbackPort> sender;
    uint64_t id;
  };

  void arrive(Arrival arrival);
  void receive_waiting();
  Status receive(const std::shared_ptr<LoopbackOffer>& offer);
  void finish_send(uint64_t id, const Status& status);
  void withdraw_sends(bool complete);
  void deliver_later();
  void deliver();

  Mutex mutex_;
  Executor* executor_ KVFERRY_GUARDED_BY(mutex_);  // null once the link is gone

  // Executor only.
  std::shared_ptr<OfferHandler> handler_;  // shared with a call under way
  std::shared_ptr<LoopbackPort> peer_;
  std::unordered_map<uint64_t, Sending> sends_;
  uint64_t next_send_ = 0;
  std::deque<Arrival> waiting_;
  std::deque<std::pair<LinkCompletion, Status>> done_;
  std::vector<std::function<void()>> quiet_callbacks_;
  bool delivery_posted_ = false;
  bool closed_ = false;
  bool detached_ = false;
};

}  // namespace kvferry
