#pragma once

#include <cstdint>
#include <string_view>

#include "kvferry/export.h"

namespace kvferry {

/// Where a transfer of one chunk stands. The last three are terminal, and terminal means quiet or
/// quarantined: no thread, device or peer process can touch its memory any more, or that memory is
/// out of circulation.
enum class TransferState : uint8_t {
  kPlanned,    ///< wanted; nothing is promised to anybody
  kPosted,     ///< offered and, on the other side, granted: leases exist
  kDraining,   ///< bytes are or may be on their way
  kCompleted,  ///< verified, published and acknowledged
  kFailed,
  kCancelled,
};

KVFERRY_EXPORT std::string_view transfer_state_name(TransferState state);
constexpr bool is_terminal(TransferState state) { return state >= TransferState::kCompleted; }

/// What the receiver says of a chunk in the end.
enum class ChunkOutcome : uint8_t {
  kVerified = 0,  ///< every digest is right; published
  kRefused = 1,   ///< not wanted (any more); nothing was read
  kFailed = 2,    ///< a digest or the transport failed; not published
};

/// Ownership of memory that a peer was told of.
enum class LeaseState : uint8_t { kFree, kLeased, kInUse, kQuarantined };

/// Names a lease; the generation makes a stale name harmless.
struct LeaseId {
  uint64_t id = 0;
  uint64_t generation = 0;

  friend bool operator==(const LeaseId&, const LeaseId&) = default;
};

}  // namespace kvferry
