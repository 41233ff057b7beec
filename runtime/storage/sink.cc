#include "runtime/storage/sink.h"

#include <algorithm>
#include <utility>

namespace kvferry {
namespace {

/// A sink with work that has ended none for so long stands still.
constexpr Duration kStandstill = std::chrono::milliseconds(250);

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
    : backend_(std::move(backend)), limits_(limits), control_(control), counters_(counters) {
  last_end_ = control.clock().now();
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
  enqueue(ticket);
  return ticket;
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
  queued_put_bytes_ += bytes;
  enqueue(std::move(ticket));
}

void Sink::enqueue(SinkTicketPtr ticket) {
  auto& queue = waiting_.at(static_cast<size_t>(ticket->priority));
  if (queue.size() >= limits_.max_queued_items) {
    if (ticket->obj) queued_put_bytes_ -= ticket->bytes;
    control_.post([self = shared_from_this(), ticket] {
      self->report(ticket, make_error(StatusCode::kResourceExhausted,
                                      "the queue of sink " + self->name() + " is full"));
    });
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
  auto& queue = waiting_.at(static_cast<size_t>(ticket->priority));
  queue.erase(std::remove(queue.begin(), queue.end(), ticket), queue.end());
  ticket->priority = priority;
  waiting_.at(static_cast<size_t>(priority)).push_back(ticket);
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

bool Sink::has_room(size_t bytes) const {
  return queued_put_bytes_ == 0 || queued_put_bytes_ + bytes <= limits_.max_in_flight_bytes / 2;
}

bool Sink::is_moving() const {
  return in_flight_bytes_ == 0 || control_.clock().now() - last_end_ < kStandstill;
}

void Sink::pump() {
  for (;;) {
    PriorityTurns::Waiting waiting{};
    for (size_t i = 0; i < kNumPriorities; ++i) {
      auto& queue = waiting_.at(i);
      while (!queue.empty() && queue.front()->is_reported) queue.pop_front();
      waiting.at(i) = !queue.empty() && fits(*queue.front());
    }
    const std::optional<size_t> priority = turns_.next(waiting);
    if (!priority.has_value()) break;
    turns_.took(*priority, waiting);
    auto& queue = waiting_.at(*priority);
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
  if (in_flight_bytes_ == 0) last_end_ = control_.clock().now();  // it starts to move
  in_flight_bytes_ += ticket->bytes;
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
  last_end_ = control_.clock().now();
  in_flight_bytes_ -= ticket->bytes;
  if (ticket->obj) queued_put_bytes_ -= ticket->bytes;
  if (ticket->is_reported) {
    MutexLock lock(mutex_);
    ++stats_.late_items;
  } else {
    report(ticket, std::move(outcome));
  }
  ticket->obj.reset();
  pump();
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
    } else {
      ++stats_.hits;
      stats_.hit_bytes += (*outcome)->bytes().size();
    }
  }
  const auto done = std::exchange(ticket->done, nullptr);
  done(std::move(outcome));
}

void Sink::count_miss(MissCause cause) {
  MutexLock lock(mutex_);
  ++stats_.misses.at(static_cast<size_t>(cause));
}

void Sink::contains(std::vector<CacheEngineKey> keys, TimePoint deadline,
                    std::function<void(std::vector<bool>)> done) {
  // Items may end on any thread, and late: the last one, or the deadline, answers.
  struct Answer {
    Mutex mutex;
    std::vector<bool> held KVFERRY_GUARDED_BY(mutex);
    size_t missing KVFERRY_GUARDED_BY(mutex) = 0;
    std::function<void(std::vector<bool>)> done KVFERRY_GUARDED_BY(mutex);
  };
  auto answer = std::make_shared<Answer>();
  {
    MutexLock lock(answer->mutex);
    answer->held.resize(keys.size());
    answer->missing = keys.size();
    answer->done = std::move(done);
  }
  const auto give = [self = shared_from_this(), answer](bool in_time) {
    std::function<void(std::vector<bool>)> callback;
    std::vector<bool> held;
    {
      MutexLock lock(answer->mutex);
      callback = std::exchange(answer->done, nullptr);
      if (in_time) held = std::move(answer->held);
    }
    if (callback) self->control_.post([callback, held = std::move(held)] { callback(held); });
  };
  if (keys.empty()) {
    give(true);
    return;
  }
  backend_->submit_contains(keys, [answer, give](size_t item, const Result<bool>& is_held) {
    {
      MutexLock lock(answer->mutex);
      if (!answer->done) return;
      answer->held[item] = is_held.has_value() && *is_held;
      if (--answer->missing > 0) return;
    }
    give(true);
  });
  if (deadline != TimePoint::max()) {
    bool is_open = false;
    {
      MutexLock lock(answer->mutex);
      is_open = answer->done != nullptr;
    }
    if (is_open) {
      control_.post_at(deadline, [give] { give(false); });
    }
  }
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
