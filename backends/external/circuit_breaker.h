#pragma once

#include <cstdint>

#include "kvferry/clock.h"

namespace kvferry {

/// Leaves alone what fails again and again: closed (all pass) -> open after so many failures in a
/// row (none pass) -> after the cooldown one passes -> its success closes it.
///
/// Threads: caller serialises
class CircuitBreaker {
 public:
  /// `failures` = 0: never opens.
  CircuitBreaker(uint32_t failures, Duration cooldown)
      : max_failures_(failures), cooldown_(cooldown) {}

  /// Whether one more may pass. Of an open one that is true once in each cooldown.
  bool let_pass(TimePoint now) {
    if (!is_open_) return true;
    if (now < retry_at_) return false;
    retry_at_ = now + cooldown_;
    return true;
  }

  void succeeded() {
    failures_ = 0;
    is_open_ = false;
  }

  void failed(TimePoint now) {
    if (max_failures_ == 0 || is_open_ || ++failures_ < max_failures_) return;
    is_open_ = true;
    retry_at_ = now + cooldown_;
  }

  bool is_open() const { return is_open_; }

 private:
  const uint32_t max_failures_;
  const Duration cooldown_;
  uint32_t failures_ = 0;
  bool is_open_ = false;
  TimePoint retry_at_;
};

}  // namespace kvferry
