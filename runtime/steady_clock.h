#pragma once

#include "kvferry/clock.h"

namespace kvferry {

/// The machine's monotonic clock.
class SteadyClock final : public Clock {
 public:
  // Not defaulted: clang 14 lets no const object of this type be made otherwise.
  SteadyClock() noexcept {}  // NOLINT(modernize-use-equals-default)
  TimePoint now() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace kvferry
