#include "runtime/transfer/slot_sharing.h"

#include <algorithm>

namespace kvferry {

bool SlotSharing::may_have_one(const SlotUser& user,
                               const std::vector<std::shared_ptr<SlotUser>>& users) const {
  const size_t held = user.slots_held();
  if (max_per_user_ > 0 && held >= max_per_user_) return false;
  if (held == 0) return true;
  const MemoryPoolUsage usage = pool_.usage();
  const auto without = static_cast<size_t>(
      std::count_if(users.begin(), users.end(), [&](const std::shared_ptr<SlotUser>& other) {
        return other.get() != &user && other->slots_held() == 0;
      }));
  return usage.num_slots - usage.used_slots > std::min(without, usage.num_slots / 2);
}

SlotUser* SlotSharing::next(FetchPriority priority,
                            const std::vector<std::shared_ptr<SlotUser>>& users) const {
  const SlotUser* const last = last_[static_cast<size_t>(priority)];
  const auto found = std::find_if(users.begin(), users.end(),
                                  [&](const auto& user) { return user.get() == last; });
  const auto offset = static_cast<size_t>(found == users.end() ? 0 : found - users.begin() + 1);
  for (size_t i = 0; i < users.size(); ++i) {
    SlotUser& user = *users[(offset + i) % users.size()];
    if (user.wants_slot(priority) && may_have_one(user, users)) return &user;
  }
  return nullptr;
}

void SlotSharing::hand_out(const std::vector<std::shared_ptr<SlotUser>>& users) {
  for (;;) {
    PriorityTurns::Waiting waiting{};
    for (const std::shared_ptr<SlotUser>& user : users) {
      if (!may_have_one(*user, users)) continue;
      for (size_t p = 0; p < kNumPriorities; ++p) {
        waiting[p] = waiting[p] || user->wants_slot(static_cast<FetchPriority>(p));
      }
    }
    const std::optional<size_t> turn = turns_.next(waiting);
    if (!turn) return;
    const auto priority = static_cast<FetchPriority>(*turn);
    SlotUser* const user = next(priority, users);
    if (!user->use_slot(priority)) return;
    turns_.took(*turn, waiting);
    last_[*turn] = user;
  }
}

}  // namespace kvferry
