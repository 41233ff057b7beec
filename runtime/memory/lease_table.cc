#include "runtime/memory/lease_table.h"

namespace kvferry {

LeaseId LeaseTable::grant(MemoryObjPtr obj, std::string holder) {
  const LeaseId id{next_id_++, next_generation_++};
  leases_.emplace(id.id,
                  Lease{id.generation, LeaseState::kLeased, std::move(obj), std::move(holder)});
  return id;
}

Result<LeaseTable::Lease*> LeaseTable::find(LeaseId lease) {
  const auto found = leases_.find(lease.id);
  if (found == leases_.end() || found->second.generation != lease.generation) {
    return make_error(StatusCode::kFailedPrecondition,
                      "lease " + std::to_string(lease.id) + " of generation " +
                          std::to_string(lease.generation) + " is not held (any more)");
  }
  return &found->second;
}

Status LeaseTable::begin_use(LeaseId id) {
  KVFERRY_ASSIGN_OR_RETURN(Lease * lease, find(id));
  if (lease->state != LeaseState::kLeased) {
    return Status(StatusCode::kFailedPrecondition,
                  "lease " + std::to_string(id.id) + " is already in use or quarantined");
  }
  lease->state = LeaseState::kInUse;
  return {};
}

Status LeaseTable::fence(LeaseId id) {
  KVFERRY_ASSIGN_OR_RETURN(Lease * lease, find(id));
  if (lease->state == LeaseState::kQuarantined) {
    --quarantined_;
    quarantined_bytes_ -= lease->obj->capacity().size();
  }
  leases_.erase(id.id);
  return {};
}

Status LeaseTable::quarantine(LeaseId id) {
  KVFERRY_ASSIGN_OR_RETURN(Lease * lease, find(id));
  if (lease->state == LeaseState::kQuarantined) return {};
  lease->state = LeaseState::kQuarantined;
  ++quarantined_;
  quarantined_bytes_ += lease->obj->capacity().size();
  return {};
}

std::map<std::string, size_t> LeaseTable::quarantined_by_holder() const {
  std::map<std::string, size_t> chunks;
  for (const auto& [id, lease] : leases_) {
    if (lease.state == LeaseState::kQuarantined) ++chunks[lease.holder];
  }
  return chunks;
}

LeaseState LeaseTable::state(LeaseId id) const {
  const auto found = leases_.find(id.id);
  const bool held = found != leases_.end() && found->second.generation == id.generation;
  return held ? found->second.state : LeaseState::kFree;
}

}  // namespace kvferry
