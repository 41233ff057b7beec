#pragma once

#include <cstdint>

namespace kvferry {

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
