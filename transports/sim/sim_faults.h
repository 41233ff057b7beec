#pragma once

#include <cstdint>

#include "kvferry/clock.h"

namespace kvferry {

/// What a simulated network does to its links. Chances are per million.
struct SimFaults {
  Duration min_latency = std::chrono::microseconds(5);
  Duration max_latency = std::chrono::microseconds(50);
  Duration slow_latency = std::chrono::milliseconds(20);  ///< of a delivery or copy that is late
  uint32_t late = 0;             ///< a delivery or a part of a copy takes slow_latency
  uint32_t reorder = 0;          ///< an offer overtakes those before it
  uint32_t duplicate_offer = 0;  ///< an offer arrives twice
  uint32_t lose_offer = 0;       ///< an offer never arrives, and nobody is told before the close
  uint32_t fail_offer = 0;       ///< an offer fails, and its sender is told
  uint32_t lose_sent = 0;        ///< the sender never hears that its source was read
  uint32_t corrupt = 0;          ///< a byte of what arrives is another
};

}  // namespace kvferry
