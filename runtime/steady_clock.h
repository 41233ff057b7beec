#pragma once

#include "kvferry/clock.h"

namespace kvferry {

/// The machine's monotonic clock.
class SteadyClock final : public Clock {
 public:
  TimePoint now() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace kvferry
