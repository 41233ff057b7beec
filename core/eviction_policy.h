#pragma once

#include <cstdint>
#include <memory>

#include "kvferry/cache_policy.h"

namespace kvferry {

/// A cached thing's place in its policy's queues; a base of what is cached. Owned by the policy
/// while it is in it.
struct EvictionHook {
  EvictionHook* previous = nullptr;
  EvictionHook* next = nullptr;
  uint64_t ghost_key = 0;  ///< names it after its eviction: a hash of its key
  uint8_t queue = 0;
  uint8_t visits = 0;
};

/// Decides what goes when room is needed. Queues are intrusive: no call allocates, but for ghosts.
///
/// Threads: caller serialises
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual void insert(EvictionHook& hook) = 0;
  virtual void touch(EvictionHook& hook) = 0;
  virtual void erase(EvictionHook& hook) = 0;
  /// What should go next; it stays in until evict() or erase(). Null when empty.
  virtual EvictionHook* victim() = 0;
  /// The victim may not go now (it is pinned or in use): its turn comes again after the others'.
  virtual void pass_over(EvictionHook& hook) = 0;
  /// The victim goes.
  virtual void evict(EvictionHook& hook) = 0;
};

/// `capacity` in entries bounds S3-FIFO's ghosts; the others ignore it.
std::unique_ptr<EvictionPolicy> make_eviction_policy(CachePolicy policy, size_t capacity);

}  // namespace kvferry
