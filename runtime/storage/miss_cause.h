#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kvferry/status.h"

namespace kvferry {

/// Why a sink did not give a chunk.
enum class MissCause : uint8_t {
  kNotHeld,      ///< it says that it does not have it
  kNoMemory,     ///< there was no memory to read it into, or no room in the sink's queue
  kLate,         ///< its deadline passed
  kUnavailable,  ///< the store cannot be reached, or was given up for a while
  kDataLoss,     ///< the bytes are not what their digests say, or the record is torn
  kOtherLayout,  ///< the chunk was stored with another layout than this engine's
  kCancelled,
  kError,  ///< any other fault
};
inline constexpr size_t kNumMissCauses = 8;

/// As in metrics and reports: "not_held".
std::string_view miss_cause_name(MissCause cause);

MissCause miss_cause_of(const Status& status);

}  // namespace kvferry
