#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/storage/sink.h"

namespace kvferry {

/// Keeps chunks from being evicted where a lookup found them, until it goes.
///
/// Threads: any thread
class PrefixPins {
 public:
  explicit PrefixPins(PinOwner owner) : owner_(owner) {}
  ~PrefixPins() { release(); }
  PrefixPins(const PrefixPins&) = delete;
  PrefixPins& operator=(const PrefixPins&) = delete;

  /// Pins `keys` in `sink`, and says how many of them, from the first on, it could. Blocks until
  /// `deadline` at most. A sink that pins nothing counts as one that pinned all.
  size_t pin(const std::shared_ptr<Sink>& sink, std::vector<CacheEngineKey> keys,
             TimePoint deadline);

  /// Unpins all, and says how many that were. Idempotent.
  size_t release();

 private:
  using Pinned = std::pair<std::weak_ptr<Sink>, std::vector<CacheEngineKey>>;

  const PinOwner owner_;
  std::vector<Pinned> pinned_;
  std::atomic<bool> released_{false};
};

/// Releases pins whose owner forgot them, all after the same time, and counts them in `released`.
///
/// Threads: control executor only
class PinTimeouts {
 public:
  /// `control` and `released` are borrowed.
  PinTimeouts(Executor& control, Duration timeout, std::atomic<uint64_t>& released)
      : control_(control), timeout_(timeout), released_(released) {}

  void add(const std::shared_ptr<PrefixPins>& pins);

 private:
  void arm();

  Executor& control_;
  const Duration timeout_;
  std::atomic<uint64_t>& released_;
  std::deque<std::pair<TimePoint, std::weak_ptr<PrefixPins>>> pins_;  // the oldest first
  bool is_armed_ = false;
};

}  // namespace kvferry
