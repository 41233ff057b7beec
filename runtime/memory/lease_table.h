#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>

#include "kvferry/memory_obj.h"
#include "kvferry/transfer.h"

namespace kvferry {

/// Who may touch which bytes, at which generation. Memory that a peer was told of leaves its pool's
/// circulation here, and comes back through fence() alone.
///
///   grant -> leased -> begin_use -> in use -> fence -> (gone)
///              |                      |
///              +----- quarantine -----+----> quarantined -> fence -> (gone)
///
/// A generation is never reused, so that whoever still holds an old lease is refused.
///
/// Threads: caller serialises (the control executor).
class LeaseTable {
 public:
  /// Takes a reference to `obj` until the lease is fenced.
  LeaseId grant(MemoryObjPtr obj, std::string holder);

  /// Errors: kFailedPrecondition for an unknown lease or one of another generation.
  Status begin_use(LeaseId lease);

  /// Nobody can touch the bytes any more: drops the reference.
  /// Errors: kFailedPrecondition for an unknown lease or one of another generation.
  Status fence(LeaseId lease);

  /// The peer may still touch the bytes and will not say: keep them out of circulation.
  /// Errors: kFailedPrecondition as above.
  Status quarantine(LeaseId lease);

  LeaseState state(LeaseId lease) const;
  size_t active() const { return leases_.size() - quarantined_; }
  size_t quarantined() const { return quarantined_; }
  /// Chunks in quarantine, by who may still touch them.
  std::map<std::string, size_t> quarantined_by_holder() const;
  size_t quarantined_bytes() const { return quarantined_bytes_; }

 private:
  struct Lease {
    uint64_t generation = 0;
    LeaseState state = LeaseState::kFree;
    MemoryObjPtr obj;
    std::string holder;
  };

  Result<Lease*> find(LeaseId lease);

  std::unordered_map<uint64_t, Lease> leases_;
  uint64_t next_id_ = 1;
  uint64_t next_generation_ = 1;
  size_t quarantined_ = 0;
  size_t quarantined_bytes_ = 0;
};

}  // namespace kvferry
