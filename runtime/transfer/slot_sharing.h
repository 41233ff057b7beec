#pragma once

#include <array>
#include <memory>
#include <vector>

#include "core/priority_turns.h"
#include "kvferry/transfer_engine.h"
#include "runtime/memory/memory_pool.h"

namespace kvferry {

/// One who uses slots of a pool: one direction of one session.
class SlotUser {
 public:
  virtual ~SlotUser() = default;
  /// Has work of that priority for which it needs a slot.
  virtual bool wants_slot(FetchPriority priority) const = 0;
  /// Does one piece of it, with or without a slot. False: the pool had none.
  virtual bool use_slot(FetchPriority priority) = 0;
  virtual size_t slots_held() const = 0;
};

/// Hands out the slots of a pool: by priority, among equals in turn, and so that nobody takes all.
///
/// One user may hold `max_per_user`, and never the slots that those who hold none may need: one for
/// each, half of the pool at most. So a slow peer that keeps what it has slows itself; with two
/// slots a peer, nobody else.
///
/// Threads: caller serialises.
class SlotSharing {
 public:
  /// `pool` is borrowed. 0: no limit of its own.
  SlotSharing(const MemoryPool& pool, size_t max_per_user)
      : pool_(pool), max_per_user_(max_per_user) {}

  /// Until nobody may or wants to use another slot. `users` are in the same order each time.
  void hand_out(const std::vector<std::shared_ptr<SlotUser>>& users);

 private:
  /// Of those who want a slot for `priority` and may have one, who comes after the last; or null.
  SlotUser* next(FetchPriority priority, const std::vector<std::shared_ptr<SlotUser>>& users) const;
  bool may_have_one(const SlotUser& user,
                    const std::vector<std::shared_ptr<SlotUser>>& users) const;

  const MemoryPool& pool_;
  const size_t max_per_user_;
  PriorityTurns turns_;
  std::array<const SlotUser*, kNumPriorities> last_{};  // compared only
};

}  // namespace kvferry
