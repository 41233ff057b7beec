#pragma once

#include <chrono>

namespace kvferry {

using Duration = std::chrono::nanoseconds;
/// Points on the clock that the runtime was composed with; comparable only with one another.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

/// Source of time. Nothing below `runtime/` reads a wall clock, so that a simulator can own time.
///
/// Threads: any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
};

}  // namespace kvferry
