#include "runtime/transfer/slot_sharing.h"

#include <gmock/gmock.h>

#include <deque>

namespace kvferry {
namespace {

using ::testing::Each;
using ::testing::Ge;

constexpr auto kForeground = FetchPriority::kForeground;
constexpr auto kPrefetch = FetchPriority::kPrefetch;
constexpr auto kBackground = FetchPriority::kBackground;

/// Takes a slot for each piece of work, and keeps it until it is told.
class Taker final : public SlotUser {
 public:
  explicit Taker(MemoryPool& pool) : pool_(pool) {}

  bool wants_slot(FetchPriority priority) const override {
    return work[static_cast<size_t>(priority)] > 0;
  }
  bool use_slot(FetchPriority priority) override {
    auto slot = pool_.allocate(1);
    if (!slot) return false;
    held.push_back(std::move(slot).value());
    --work[static_cast<size_t>(priority)];
    done.push_back(priority);
    return true;
  }
  size_t slots_held() const override { return held.size(); }

  std::array<int, kNumPriorities> work{};
  std::deque<MemoryObjPtr> held;
  std::vector<FetchPriority> done;

 private:
  MemoryPool& pool_;
};

struct Sharing {
  explicit Sharing(size_t slots, size_t num_takers, size_t max_per_user = 0)
      : pool(MemoryPool::create({.slot_bytes = 1, .num_slots = slots}).value()),
        sharing(*pool, max_per_user) {
    for (size_t i = 0; i < num_takers; ++i) users.push_back(std::make_shared<Taker>(*pool));
  }
  Taker& taker(size_t i) { return static_cast<Taker&>(*users[i]); }

  std::unique_ptr<MemoryPool> pool;
  SlotSharing sharing;
  std::vector<std::shared_ptr<SlotUser>> users;
};

TEST(SlotSharing, TheForegroundGoesFirstAndNobodyStarves) {
  Sharing shared(1, 1);
  Taker& taker = shared.taker(0);
  taker.work = {1000, 1000, 1000};
  for (int i = 0; i < 200; ++i) {
    shared.sharing.hand_out(shared.users);
    taker.held.clear();
  }
  EXPECT_EQ(taker.done.front(), kForeground);
  EXPECT_GE(std::ranges::count(taker.done, kForeground), 150);
  for (const FetchPriority low : {kPrefetch, kBackground}) {
    int passed_over = 0;
    for (const FetchPriority each : taker.done) {
      passed_over = each == low ? 0 : passed_over + 1;
      // The other low one may come in between, twice.
      ASSERT_LE(passed_over, PriorityTurns::kPatience + 2);
    }
  }
}

TEST(SlotSharing, PriorityHoldsAmongAllUsersAndNotWithinOne) {
  Sharing shared(4, 2);
  shared.taker(0).work = {0, 0, 10};
  shared.taker(1).work = {3, 0, 0};
  shared.sharing.hand_out(shared.users);
  EXPECT_EQ(shared.taker(1).done.size(), 3U);
  EXPECT_EQ(shared.taker(0).done.size(), 1U);
}

TEST(SlotSharing, EqualsTakeTurns) {
  Sharing shared(1, 3);
  for (size_t i = 0; i < 3; ++i) shared.taker(i).work = {100, 0, 0};
  for (int i = 0; i < 30; ++i) {
    shared.sharing.hand_out(shared.users);
    for (size_t j = 0; j < 3; ++j) shared.taker(j).held.clear();
  }
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(shared.taker(i).done.size(), 10U);
}

// Who has work of a higher priority too must not lose its turns of the lower one by that.
TEST(SlotSharing, EqualsTakeTurnsWithinEachPriority) {
  Sharing shared(1, 2);
  shared.taker(0).work = {0, 0, 1000};
  shared.taker(1).work = {1000, 0, 1000};
  for (int i = 0; i < 360; ++i) {
    shared.sharing.hand_out(shared.users);
    for (const size_t each : {0U, 1U}) shared.taker(each).held.clear();
  }
  for (const size_t each : {0U, 1U}) {
    EXPECT_EQ(std::ranges::count(shared.taker(each).done, kBackground), 20);
  }
}

TEST(SlotSharing, OneAloneTakesAll) {
  Sharing shared(4, 1);
  shared.taker(0).work = {100, 0, 0};
  shared.sharing.hand_out(shared.users);
  EXPECT_EQ(shared.taker(0).held.size(), 4U);
}

// A slow peer keeps what it has; the others must be able to go on.
TEST(SlotSharing, OneThatGivesNothingBackStopsNobodyElse) {
  Sharing shared(6, 3);
  shared.taker(0).work = {100, 0, 0};
  shared.sharing.hand_out(shared.users);
  EXPECT_EQ(shared.taker(0).held.size(), 4U) << "one is left for each of the others";
  for (int i = 0; i < 50; ++i) {
    for (const size_t other : {1U, 2U}) shared.taker(other).work = {2, 0, 0};
    shared.sharing.hand_out(shared.users);
    for (const size_t other : {1U, 2U}) {
      EXPECT_GE(shared.taker(other).held.size(), 1U);
      shared.taker(other).held.clear();
    }
  }
}

TEST(SlotSharing, MorePeersThanSlotsStillShareThem) {
  Sharing shared(2, 5);
  shared.taker(0).work = {100, 0, 0};
  shared.sharing.hand_out(shared.users);
  EXPECT_EQ(shared.taker(0).held.size(), 1U);
  shared.taker(3).work = {100, 0, 0};
  shared.sharing.hand_out(shared.users);
  EXPECT_EQ(shared.taker(3).held.size(), 1U);
}

TEST(SlotSharing, AUsersOwnLimitHolds) {
  Sharing shared(8, 1, 3);
  shared.taker(0).work = {100, 0, 0};
  shared.sharing.hand_out(shared.users);
  EXPECT_EQ(shared.taker(0).held.size(), 3U);
}

}  // namespace
}  // namespace kvferry
