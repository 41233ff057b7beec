#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/priority_turns.h"
#include "kvferry/storage_backend.h"
#include "kvferry/transfer_engine.h"
#include "runtime/storage/miss_cause.h"
#include "runtime/storage/sink_questions.h"
#include "runtime/telemetry/backend_counters.h"

namespace kvferry {

struct SinkLimits {
  size_t max_in_flight_bytes = size_t{256} << 20;  ///< of gets and puts that the backend has
  size_t max_queued_gets = 4096;
  size_t max_queued_puts = 256;
  Duration put_timeout = std::chrono::seconds(30);
};

struct SinkStats {
  uint64_t hits = 0;  ///< chunks that it gave and that turned out good
  uint64_t hit_bytes = 0;
  std::array<uint64_t, kNumMissCauses> misses{};
  uint64_t puts = 0;
  uint64_t put_bytes = 0;
  uint64_t failed_puts = 0;
  uint64_t refused_puts = 0;  ///< had no room, or came while it stood still
  uint64_t late_items = 0;    ///< ended after their deadline
  uint64_t discarded = 0;     ///< taken out, as they were no good
  size_t in_flight_bytes = 0;
  size_t max_in_flight_bytes = 0;
  size_t queued_items = 0;
};

/// Halfway from now to a deadline: what one of several may take of the time that is left.
inline TimePoint halfway_to(TimePoint deadline, TimePoint now) {
  return deadline == TimePoint::max() || deadline <= now ? deadline : now + (deadline - now) / 2;
}

/// One get or put that waits for its sink or is under way.
class SinkTicket;
using SinkTicketPtr = std::shared_ptr<SinkTicket>;

/// A backend and what the runtime allows it: bytes in flight, a queue in which foreground comes
/// before prefetch before background (with a starvation bound), a deadline for every item.
///
/// An item ends for its caller at its deadline; what it holds stays counted as in flight until the
/// backend ends it. A backend that never does fills its own bound, and nothing else.
///
/// Threads: the control executor only, but for stats(); completions come on it too, never from
///   inside the call.
class Sink : public std::enable_shared_from_this<Sink> {
 public:
  /// `control` is borrowed, as is `counters`: what the backend counts for itself, if it does.
  Sink(std::unique_ptr<StorageBackend> backend, SinkLimits limits, Executor& control,
       const BackendCounters* counters = nullptr);

  StorageBackend& backend() { return *backend_; }
  const StorageBackend& backend() const { return *backend_; }
  const std::string& name() const { return backend_->name(); }
  /// Answers at once, in its calls.
  bool is_memory() const { return backend_->traits().is_memory; }

  SinkTicketPtr get(const CacheEngineKey& key, size_t size_bytes, FetchPriority priority,
                    TimePoint deadline, std::function<void(Result<MemoryObjPtr>)> done);
  /// Refused at once (kResourceExhausted) without has_room(), so that nothing waits for a sink that
  /// stands still.
  void put(const CacheEngineKey& key, MemoryObjPtr obj, std::function<void(Status)> done);
  SinkQuestions& questions() { return *questions_; }

  /// One that still waits goes first from now on.
  void raise(const SinkTicketPtr& ticket, FetchPriority priority);
  /// Nobody wants it any more: one that still waits ends kCancelled.
  void withdraw(const SinkTicketPtr& ticket);

  bool has_room(size_t bytes) const;
  /// It has ended a put lately, or has none.
  bool is_moving() const;
  /// It has gets and has ended none for long: further ones would wait in vain.
  bool stands_still() const;

  /// Whoever verifies a chunk that it gave says which it was.
  void count_hit(size_t bytes);
  void count_miss(MissCause cause);
  /// Takes a chunk that is no good out of it, pinned or not.
  void discard(const CacheEngineKey& key);
  const BackendCounters* counters() const { return counters_; }
  const SinkLimits& limits() const { return limits_; }
  SinkStats stats() const KVFERRY_EXCLUDES(mutex_);

 private:
  using Deadline = std::pair<TimePoint, SinkTicketPtr>;
  /// Those of one key that the backend has, and has had with them.
  struct PutsOfKey {
    size_t in_flight = 0;
    bool ended_in_time = false;
    bool ended_late = false;  // after it was said to have failed
  };

  void enqueue(SinkTicketPtr ticket);
  void refuse(const SinkTicketPtr& ticket, StatusCode code, const std::string& why);
  void pump();
  void start(const SinkTicketPtr& ticket);
  /// The backend has ended it.
  void finish(const SinkTicketPtr& ticket, Result<MemoryObjPtr> outcome);
  void note_put_end(const SinkTicket& ticket, bool is_good);
  /// Its caller hears of it, once.
  void report(const SinkTicketPtr& ticket, Result<MemoryObjPtr> outcome);
  size_t budget(FetchPriority priority) const;
  bool fits(const SinkTicket& ticket) const;
  bool would_fit_without_gets(const SinkTicket& ticket) const;
  void arm_deadline();
  void on_deadline();

  const std::shared_ptr<StorageBackend> backend_;
  const SinkLimits limits_;
  Executor& control_;
  const BackendCounters* const counters_;
  const std::shared_ptr<SinkQuestions> questions_;

  std::array<std::deque<SinkTicketPtr>, kNumPriorities> waiting_;
  PriorityTurns turns_;
  std::set<Deadline> deadlines_;
  TimePoint armed_for_ = TimePoint::max();
  TimePoint last_put_end_{};
  TimePoint last_get_end_{};
  std::unordered_map<CacheEngineKey, PutsOfKey> puts_;

  mutable Mutex mutex_;
  SinkStats stats_ KVFERRY_GUARDED_BY(mutex_);
  size_t in_flight_bytes_ = 0;
  size_t in_flight_put_bytes_ = 0;
  size_t queued_put_bytes_ = 0;  // those in flight included
};

}  // namespace kvferry
