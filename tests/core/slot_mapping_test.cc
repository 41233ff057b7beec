#include "kvferry/slot_mapping.h"

#include <gmock/gmock.h>

#include <limits>
#include <vector>

#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

TEST(MergeSlotRuns, JoinsConsecutiveSlotsAcrossBlocks) {
  const std::vector<int64_t> slots = {32, 33, 34, 35, 36, 8, 9, 4};
  EXPECT_THAT(merge_slot_runs(slots, 64),
              IsOkAndHolds(ElementsAre(SlotRun{0, 32, 5}, SlotRun{5, 8, 2}, SlotRun{7, 4, 1})));
}

TEST(MergeSlotRuns, SkipsNegativeSlotsAndDoesNotJoinOverThem) {
  const std::vector<int64_t> slots = {-1, 4, -1, 5, 6, kMin};
  EXPECT_THAT(merge_slot_runs(slots, 7),
              IsOkAndHolds(ElementsAre(SlotRun{1, 4, 1}, SlotRun{3, 5, 2})));
}

TEST(MergeSlotRuns, NothingGivesNoRuns) {
  EXPECT_THAT(merge_slot_runs({}, 0), IsOkAndHolds(IsEmpty()));
}

TEST(MergeSlotRuns, RefusesSlotsPastTheCacheNamingTokenAndSlot) {
  EXPECT_THAT(merge_slot_runs(std::vector<int64_t>{0, 64}, 64),
              StatusIs(StatusCode::kOutOfRange,
                       AllOf(HasSubstr("slot 64"), HasSubstr("token 1"), HasSubstr("64 slots"))));
  EXPECT_THAT(merge_slot_runs(std::vector<int64_t>{kMax}, kMax), StatusIs(StatusCode::kOutOfRange));
  EXPECT_THAT(merge_slot_runs(std::vector<int64_t>{0}, kMin), StatusIs(StatusCode::kOutOfRange));
}

TEST(MergeSlotRuns, RunsGiveTheMappingBackAndAreAsLongAsCanBe) {
  SeededRng rng;
  for (int round = 0; round < 500; ++round) {
    std::vector<int64_t> slots(rng.below(60));
    int64_t next = 0;
    for (int64_t& slot : slots) {
      if (rng.one_in(4)) next = rng.between(-3, 90);
      slot = next++;
    }
    const auto runs = merge_slot_runs(slots, 200);
    ASSERT_THAT(runs, IsOk());
    std::vector<int64_t> rebuilt(slots.size(), -1);
    for (size_t i = 0; i < runs->size(); ++i) {
      const SlotRun& run = (*runs)[i];
      for (int64_t j = 0; j < run.count; ++j) {
        rebuilt.at(static_cast<size_t>(run.token + j)) = run.slot + j;
      }
      if (i == 0) continue;
      const SlotRun& before = (*runs)[i - 1];
      ASSERT_GE(run.token, before.token + before.count);
      ASSERT_FALSE(run.token == before.token + before.count &&
                   run.slot == before.slot + before.count);
    }
    for (int64_t& slot : slots) slot = slot < 0 ? -1 : slot;
    ASSERT_EQ(rebuilt, slots);
  }
}

TEST(SlotsFromBlockTable, GivesTheSlotsOfARangeInsideBlocks) {
  const std::vector<int64_t> table = {7, 2, 9};
  EXPECT_THAT(slots_from_block_table(table, 4, 2, 9),
              IsOkAndHolds(ElementsAre(30, 31, 8, 9, 10, 11, 36)));
  EXPECT_THAT(slots_from_block_table(table, 4, 12, 12), IsOkAndHolds(IsEmpty()));
}

TEST(SlotsFromBlockTable, ReadsOnlyTheBlocksOfTheRange) {
  const std::vector<int64_t> table = {-1, 3, -1};
  EXPECT_THAT(slots_from_block_table(table, 2, 2, 4), IsOkAndHolds(ElementsAre(6, 7)));
}

TEST(SlotsFromBlockTable, RefusesTablesThatAreTooShortOrHoldNegativeBlocks) {
  const std::vector<int64_t> table = {7, -2};
  EXPECT_THAT(slots_from_block_table(table, 4, 0, 9),
              StatusIs(StatusCode::kOutOfRange, HasSubstr("token_end 9")));
  EXPECT_THAT(slots_from_block_table(table, 4, 0, 5),
              StatusIs(StatusCode::kOutOfRange, HasSubstr("block_table[1] is -2")));
  EXPECT_THAT(slots_from_block_table({}, 4, kMax - 1, kMax), StatusIs(StatusCode::kOutOfRange));
}

TEST(SlotsFromBlockTable, RefusesBlocksWhoseSlotsPassInt64) {
  EXPECT_THAT(slots_from_block_table(std::vector<int64_t>{kMax / 4}, 16, 0, 1),
              StatusIs(StatusCode::kOutOfRange, HasSubstr("block_table[0]")));
  EXPECT_THAT(slots_from_block_table(std::vector<int64_t>{kMax}, 1, 0, 1),
              StatusIs(StatusCode::kOutOfRange));
}

TEST(SlotsFromBlockTable, RefusesReversedNegativeAndHugeRanges) {
  const std::vector<int64_t> table(4, 0);
  for (const auto& [begin, end] :
       {std::pair<int64_t, int64_t>{3, 2}, {-1, 2}, {kMin, kMax}, {0, kMaxMappedTokens + 1}}) {
    EXPECT_THAT(slots_from_block_table(table, std::numeric_limits<int32_t>::max(), begin, end),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("token range")));
  }
  EXPECT_THAT(slots_from_block_table(table, 0, 0, 1),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("block_tokens is 0")));
}

}  // namespace
}  // namespace kvferry
