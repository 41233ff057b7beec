#include "runtime/storage/sink.h"

#include <algorithm>
#include <utility>

namespace kvferry {
namespace {

/// A sink with puts that has ended none for so long is not waited for.
constexpr Duration kPutStandstill = std::chrono::milliseconds(250);
/// One with gets that has ended none for so long is not asked for more.
constexpr Duration kGetStandstill = std::chrono::seconds(2);

}  // namespace

class SinkTicket {
 public:
  CacheEngineKey key;
  size_t bytes = 0;
  FetchPriority priority = FetchPriority::kForeground;
  TimePoint deadline = TimePoint::max();
  MemoryObjPtr obj;  // of a put
  std::function<void(Result<MemoryObjPtr>)> done;

  bool is_started = false;
  bool is_reported = false;
};

Sink::Sink(std::unique_ptr<StorageBackend> backend, SinkLimits limits, Executor& control,
           const BackendCounters* counters)
    : backend_(std::move(backend)),
      limits_(limits),
      control_(control),
      counters_(counters),
      questions_(std::make_shared<SinkQuestions>(backend_, control)) {
  last_put_end_ = control.clock().now();
  last_get_end_ = last_put_end_;
}

// ---- in

SinkTicketPtr Sink::get(const CacheEngineKey& key, size_t size_bytes, FetchPriority priority,
                        TimePoint deadline, std::function<void(Result<MemoryObjPtr>)> done) {
  auto ticket = std::make_shared<SinkTicket>();
  ticket->key = key;
  ticket->bytes = size_bytes;
  ticket->priority = priority;
  ticket->deadline = deadline;
  ticket->done = std::move(done);
  if (stands_still()) {
    refuse(ticket, StatusCode::kUnavailable, "stands still");
  } else {
    enqueue(ticket);
  }
  return ticket;
}

void Sink::refuse(const SinkTicketPtr& ticket, StatusCode code, const std::string& why) {
  ticket->is_started = true;  // nobody may start it any more
  control_.post([self = shared_from_this(), ticket, code, why] {
    self->report(ticket, make_error(code, "sink " + self->name() + " " + why));
  });
}

void Sink::put(const CacheEngineKey& key, MemoryObjPtr obj, std::function<void(Status)> done) {
  const size_t bytes = obj->capacity().size();
  if (!has_room(bytes)) {
    {
      MutexLock lock(mutex_);
      ++stats_.refused_puts;
    }
    control_.post([name = name(), done = std::move(done)] {
      done(Status(StatusCode::kResourceExhausted, "sink " + name + " has no room in its queue"));
    });
    return;
  }
  auto ticket = std::make_shared<SinkTicket>();
  ticket->key = key;
  ticket->bytes = bytes;
  ticket->priority = FetchPriority::kBackground;
  ticket->deadline = control_.clock().now() + limits_.put_timeout;
  ticket->obj = std::move(obj);
  ticket->done = [done = std::move(done)](const Result<MemoryObjPtr>& outcome) {
    done(outcome.has_value() ? Status() : outcome.error());
  };
  if (queued_put_bytes_ == 0) last_put_end_ = control_.clock().now();  // it starts to move
  queued_put_bytes_ += bytes;
  enqueue(std::move(ticket));
}

void Sink::enqueue(SinkTicketPtr ticket) {
  auto& queue = waiting_.at(static_cast<size_t>(ticket->priority));
  if (queue.size() >= (ticket->obj ? limits_.max_queued_puts : limits_.max_queued_gets)) {
    if (ticket->obj) queued_put_bytes_ -= ticket->bytes;
    refuse(ticket, StatusCode::kResourceExhausted, "has a full queue");
    return;
  }
  if (ticket->deadline != TimePoint::max()) {
    deadlines_.emplace(ticket->deadline, ticket);
    arm_deadline();
  }
  queue.push_back(std::move(ticket));
  pump();
}

void Sink::raise(const SinkTicketPtr& ticket, FetchPriority priority) {
  if (ticket->is_started || ticket->is_reported || priority >= ticket->priority) return;
  std::erase(waiting_.at(static_cast<size_t>(ticket->priority)), ticket);
  ticket->priority = priority;
  waiting_.at(static_cast<size_t>(priority)).push_back(ticket);
  pump();
}

void Sink::withdraw(const SinkTicketPtr& ticket) {
  if (ticket->is_started || ticket->is_reported) return;
  std::erase(waiting_.at(static_cast<size_t>(ticket->priority)), ticket);
  report(ticket, make_error(StatusCode::kCancelled, "nobody waits for it any more"));
  pump();
}

// ---- bounds

size_t Sink::budget(FetchPriority priority) const {
  // So that what is less urgent never leaves nothing to what is more so.
  switch (priority) {
    case FetchPriority::kForeground:
      return limits_.max_in_flight_bytes;
    case FetchPriority::kPrefetch:
      return limits_.max_in_flight_bytes / 4 * 3;
    case FetchPriority::kBackground:
      return limits_.max_in_flight_bytes / 2;
  }
  return 0;
}

bool Sink::fits(const SinkTicket& ticket) const {
  // One is always allowed, else a chunk larger than the bound would wait for ever.
  return in_flight_bytes_ == 0 || in_flight_bytes_ + ticket.bytes <= budget(ticket.priority);
}

bool Sink::would_fit_without_gets(const SinkTicket& ticket) const {
  return in_flight_put_bytes_ == 0 ||
         in_flight_put_bytes_ + ticket.bytes <= budget(ticket.priority);
}

bool Sink::has_room(size_t bytes) const {
  if (queued_put_bytes_ == 0) return true;
  return queued_put_bytes_ + bytes <= limits_.max_in_flight_bytes / 2 &&
         waiting_.at(static_cast<size_t>(FetchPriority::kBackground)).size() <
             limits_.max_queued_puts;
}

bool Sink::is_moving() const {
  return queued_put_bytes_ == 0 || control_.clock().now() - last_put_end_ < kPutStandstill;
}

bool Sink::stands_still() const {
  return in_flight_bytes_ > in_flight_put_bytes_ &&
         control_.clock().now() - last_get_end_ >= kGetStandstill;
}

void Sink::pump() {
  const TimePoint now = control_.clock().now();
  for (;;) {
    PriorityTurns::Waiting waiting{};
    for (size_t i = 0; i < kNumPriorities; ++i) {
      auto& queue = waiting_.at(i);
      while (!queue.empty() && (queue.front()->is_reported || queue.front()->deadline <= now)) {
        queue.pop_front();  // on_deadline() tells of it, if it was not told yet
      }
      // What its own kind keeps from starting does not hold up the others.
      waiting.at(i) = !queue.empty() && would_fit_without_gets(*queue.front());
    }
    const std::optional<size_t> priority = turns_.next(waiting);
    if (!priority.has_value()) break;
    auto& queue = waiting_.at(*priority);
    if (!fits(*queue.front())) break;  // its turn: nothing else starts before it
    turns_.took(*priority, waiting);
    const SinkTicketPtr ticket = std::move(queue.front());
    queue.pop_front();
    start(ticket);
  }
  MutexLock lock(mutex_);
  stats_.queued_items = 0;
  for (const auto& queue : waiting_) stats_.queued_items += queue.size();
  stats_.in_flight_bytes = in_flight_bytes_;
}

// ---- out

void Sink::start(const SinkTicketPtr& ticket) {
  ticket->is_started = true;
  const bool is_first_get = !ticket->obj && in_flight_bytes_ == in_flight_put_bytes_;
  if (is_first_get) last_get_end_ = control_.clock().now();  // it starts to move
  in_flight_bytes_ += ticket->bytes;
  if (ticket->obj) {
    in_flight_put_bytes_ += ticket->bytes;
    ++puts_[ticket->key].in_flight;
  }
  const auto done = [self = shared_from_this(), ticket](Result<MemoryObjPtr> outcome) {
    self->control_.post([self, ticket, outcome = std::move(outcome)]() mutable {
      self->finish(ticket, std::move(outcome));
    });
  };
  if (ticket->obj) {
    backend_->submit_put({&ticket->key, 1}, {&ticket->obj, 1}, {},
                         [done](size_t, const Status& status) {
                           if (status.is_ok()) {
                             done(MemoryObjPtr());
                           } else {
                             done(make_error(status));
                           }
                         });
    return;
  }
  GetOptions options;
  options.intent = ticket->priority == FetchPriority::kForeground ? GetIntent::kForeground
                                                                  : GetIntent::kPrefetch;
  options.deadline = ticket->deadline;
  backend_->submit_get({&ticket->key, 1}, options,
                       [done](size_t, Result<MemoryObjPtr> outcome) { done(std::move(outcome)); });
}

void Sink::finish(const SinkTicketPtr& ticket, Result<MemoryObjPtr> outcome) {
  in_flight_bytes_ -= ticket->bytes;
  if (ticket->obj) {
    last_put_end_ = control_.clock().now();
    queued_put_bytes_ -= ticket->bytes;
    in_flight_put_bytes_ -= ticket->bytes;
  } else {
    last_get_end_ = control_.clock().now();
  }
  if (ticket->obj) note_put_end(*ticket, outcome.has_value());
  if (ticket->is_reported) {
    MutexLock lock(mutex_);
    ++stats_.late_items;
  } else {
    report(ticket, std::move(outcome));
  }
  ticket->obj.reset();
  pump();
}

// A put that was said to have failed must not be found, unless one of the same key was said to be
// there.
void Sink::note_put_end(const SinkTicket& ticket, bool is_good) {
  const auto found = puts_.find(ticket.key);
  PutsOfKey& puts = found->second;
  if (is_good) (ticket.is_reported ? puts.ended_late : puts.ended_in_time) = true;
  if (--puts.in_flight > 0) return;
  const bool is_unwanted = puts.ended_late && !puts.ended_in_time;
  puts_.erase(found);
  if (!is_unwanted) return;
  backend_->submit_remove({&ticket.key, 1}, false, [](size_t, const Result<bool>&) {});
}

void Sink::report(const SinkTicketPtr& ticket, Result<MemoryObjPtr> outcome) {
  ticket->is_reported = true;
  deadlines_.erase({ticket->deadline, ticket});
  {
    MutexLock lock(mutex_);
    if (ticket->obj) {
      if (outcome.has_value()) {
        ++stats_.puts;
        stats_.put_bytes += ticket->obj->bytes().size();
      } else {
        ++stats_.failed_puts;
      }
    } else if (!outcome.has_value()) {
      ++stats_.misses.at(static_cast<size_t>(miss_cause_of(outcome.error())));
    } else if (!outcome.value()) {
      ++stats_.misses.at(static_cast<size_t>(MissCause::kNotHeld));
    }
  }
  const auto done = std::exchange(ticket->done, nullptr);
  done(std::move(outcome));
}

void Sink::count_hit(size_t bytes) {
  MutexLock lock(mutex_);
  ++stats_.hits;
  stats_.hit_bytes += bytes;
}

void Sink::count_miss(MissCause cause) {
  MutexLock lock(mutex_);
  ++stats_.misses.at(static_cast<size_t>(cause));
}

void Sink::discard(const CacheEngineKey& key) {
  {
    MutexLock lock(mutex_);
    ++stats_.discarded;
  }
  backend_->submit_remove({&key, 1}, true, [](size_t, const Result<bool>&) {});
}

// ---- deadlines

void Sink::arm_deadline() {
  if (deadlines_.empty() || deadlines_.begin()->first >= armed_for_) return;
  armed_for_ = deadlines_.begin()->first;
  control_.post_at(armed_for_, [weak = weak_from_this(), when = armed_for_] {
    const std::shared_ptr<Sink> self = weak.lock();
    if (self && self->armed_for_ == when) self->on_deadline();
  });
}

void Sink::on_deadline() {
  armed_for_ = TimePoint::max();
  const TimePoint now = control_.clock().now();
  std::vector<SinkTicketPtr> late;
  for (const Deadline& each : deadlines_) {
    if (each.first > now) break;
    late.push_back(each.second);
  }
  for (const SinkTicketPtr& ticket : late) {
    const bool was_put = ticket->obj && !ticket->is_started;
    report(ticket,
           make_error(StatusCode::kDeadlineExceeded, "sink " + name() + " did not end it in time"));
    if (was_put) {
      queued_put_bytes_ -= ticket->bytes;
      ticket->obj.reset();
    }
  }
  arm_deadline();
  pump();
}

SinkStats Sink::stats() const {
  MutexLock lock(mutex_);
  SinkStats stats = stats_;
  stats.max_in_flight_bytes = limits_.max_in_flight_bytes;
  return stats;
}

}  // namespace kvferry
