#pragma once

#include <cstdint>

#include "kvferry/clock.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// Stops calls to something that has failed often enough in a row; lets one through now and then,
/// and all again once one has succeeded.
///
/// Threads: any thread, internally locked.
class CircuitBreaker {
 public:
  enum class State : uint8_t { kClosed, kOpen, kHalfOpen };
  enum class Outcome : uint8_t {
    kSuccess,
    kFailure,
    kNeither,  ///< it says nothing about the other side
  };

  CircuitBreaker(int max_failures, Duration cooldown)
      : max_failures_(max_failures), cooldown_(cooldown) {}

  /// May a call be made? After true: record() once. While half-open only one is under way.
  bool admit(TimePoint now) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (state_ == State::kClosed) return true;
    if (state_ == State::kHalfOpen || now < retry_at_) return false;
    state_ = State::kHalfOpen;
    return true;
  }

  /// The state after it; calls admitted before the breaker opened count too.
  State record(Outcome outcome, TimePoint now) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (outcome == Outcome::kSuccess) {
      num_failures_ = 0;
      state_ = State::kClosed;
    } else if (outcome == Outcome::kFailure) {
      ++num_failures_;
      if (state_ == State::kHalfOpen || num_failures_ >= max_failures_) {
        state_ = State::kOpen;
        retry_at_ = now + cooldown_;
      }
    } else if (state_ == State::kHalfOpen) {
      state_ = State::kOpen;  // the next one tries again, at once
    }
    return state_;
  }

  State state() const KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return state_;
  }

 private:
  const int max_failures_;
  const Duration cooldown_;
  mutable Mutex mutex_;
  State state_ KVFERRY_GUARDED_BY(mutex_) = State::kClosed;
  int num_failures_ KVFERRY_GUARDED_BY(mutex_) = 0;
  TimePoint retry_at_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
