#include "workload/engine/block_allocator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Blocks = std::vector<int64_t>;

BlockAllocator make(int64_t num_blocks, uint64_t seed = 1) {
  auto allocator = BlockAllocator::create(num_blocks, seed);
  EXPECT_THAT(allocator, IsOk());
  return *std::move(allocator);
}

Blocks take(BlockAllocator& allocator, int64_t count) {
  auto blocks = allocator.allocate(count);
  EXPECT_THAT(blocks, IsOkAndHolds(SizeIs(count)));
  return blocks ? *std::move(blocks) : Blocks{};
}

struct RunStatistics {
  double adjacent = 0;  ///< share of neighbours in the table that are neighbours in memory
  int64_t longest = 1;
};

RunStatistics runs_of(const Blocks& blocks) {
  int64_t adjacent = 0;
  int64_t run = 1;
  RunStatistics statistics;
  for (size_t i = 1; i < blocks.size(); ++i) {
    const bool next = blocks[i] == blocks[i - 1] + 1;
    adjacent += next ? 1 : 0;
    run = next ? run + 1 : 1;
    statistics.longest = std::max(statistics.longest, run);
  }
  statistics.adjacent = static_cast<double>(adjacent) / static_cast<double>(blocks.size() - 1);
  return statistics;
}

TEST(BlockAllocator, HandsOutEachBlockOnce) {
  for (const int64_t num_blocks : {1, 2, 3, 31, 1000}) {
    BlockAllocator allocator = make(num_blocks);
    EXPECT_EQ(allocator.free_blocks(), num_blocks);
    const Blocks blocks = take(allocator, num_blocks);
    const std::set<int64_t> distinct(blocks.begin(), blocks.end());
    EXPECT_THAT(distinct, SizeIs(num_blocks));
    EXPECT_EQ(*distinct.begin(), 0);
    EXPECT_EQ(*distinct.rbegin(), num_blocks - 1);
  }
}

TEST(BlockAllocator, StartsFragmentedWithShortRuns) {
  for (const int64_t num_blocks : {512, 4096, 65536}) {
    for (const uint64_t seed : {1u, 2u, 3u}) {
      BlockAllocator allocator = make(num_blocks, seed);
      const RunStatistics statistics = runs_of(take(allocator, num_blocks));
      EXPECT_GT(statistics.adjacent, 0.1) << num_blocks << " seed " << seed;
      EXPECT_LT(statistics.adjacent, 0.5) << num_blocks << " seed " << seed;
      EXPECT_GE(statistics.longest, 3) << num_blocks << " seed " << seed;
      EXPECT_LE(statistics.longest, 24) << num_blocks << " seed " << seed;
    }
  }
}

TEST(BlockAllocator, StaysFragmentedWhileItServes) {
  SeededRng random;
  BlockAllocator allocator = make(2048);
  std::vector<Blocks> tables;
  for (int step = 0; step < 2000; ++step) {
    const int64_t count = random.between(1, 100);
    if (count <= allocator.free_blocks()) {
      tables.push_back(take(allocator, count));
    } else {
      const size_t victim = random.below(tables.size());
      ASSERT_THAT(allocator.free(tables[victim]), IsOk());
      tables.erase(tables.begin() + static_cast<int64_t>(victim));
    }
  }
  for (const Blocks& table : tables) ASSERT_THAT(allocator.free(table), IsOk());
  EXPECT_LT(runs_of(take(allocator, 2048)).adjacent, 0.5);
}

TEST(BlockAllocator, SeedDecidesTheOrder) {
  BlockAllocator one = make(300, 9);
  BlockAllocator two = make(300, 9);
  BlockAllocator other = make(300, 10);
  const Blocks blocks = take(one, 300);
  EXPECT_EQ(blocks, take(two, 300));
  EXPECT_NE(blocks, take(other, 300));
}

TEST(BlockAllocator, ExhaustedReturnsAnErrorAtOnceAndRecovers) {
  BlockAllocator allocator = make(10);
  const Blocks blocks = take(allocator, 7);
  EXPECT_THAT(allocator.allocate(4),
              StatusIs(StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("3 of 10 blocks free"), HasSubstr("4 are wanted"))));
  EXPECT_EQ(allocator.free_blocks(), 3);
  EXPECT_THAT(allocator.free(blocks), IsOk());
  EXPECT_THAT(allocator.allocate(10), IsOkAndHolds(SizeIs(10)));
  EXPECT_THAT(allocator.allocate(1), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(allocator.allocate(0), IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(allocator.allocate(-1), StatusIs(StatusCode::kInvalidArgument, HasSubstr("-1")));
}

TEST(BlockAllocator, WrongFreeChangesNothing) {
  BlockAllocator allocator = make(10);
  const Blocks blocks = take(allocator, 4);
  const Blocks rest = take(allocator, 1);
  ASSERT_THAT(allocator.free(rest), IsOk());

  EXPECT_THAT(allocator.free(Blocks{blocks[0], rest[0]}),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("block " + std::to_string(rest[0]) + ": it is free already")));
  EXPECT_THAT(allocator.free(Blocks{blocks[0], blocks[1], blocks[0]}),
              StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(allocator.free(Blocks{blocks[0], 10}),
              StatusIs(StatusCode::kOutOfRange, HasSubstr("block 10")));
  EXPECT_THAT(allocator.free(Blocks{blocks[0], -1}),
              StatusIs(StatusCode::kOutOfRange, HasSubstr("block -1")));
  EXPECT_EQ(allocator.free_blocks(), 6);

  EXPECT_THAT(allocator.free(blocks), IsOk());
  EXPECT_THAT(allocator.free(blocks), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_EQ(allocator.free_blocks(), 10);
}

TEST(BlockAllocator, SizeOutOfBounds) {
  for (const int64_t num_blocks : {int64_t{0}, int64_t{-1}, int64_t{1} << 40}) {
    EXPECT_THAT(BlockAllocator::create(num_blocks, 1),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(std::to_string(num_blocks))));
  }
}

}  // namespace
}  // namespace kvferry
