#include "workload/traffic/cache_model.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/seeded_rng.h"

namespace kvferry {
namespace {

constexpr std::array kPolicies = {CachePolicy::kLru, CachePolicy::kFifo, CachePolicy::kS3Fifo};

TEST(CacheModel, OnlyThePrefixThatIsHeldCounts) {
  const ChunkAccesses accesses{{{0, 1, 2}, {3, 4, 0}, {0, 1, 5, 2}}, 6};
  // Five fit. Of the third request 0 and 1 are a prefix; 2 is held too, but behind a gap.
  EXPECT_EQ(model_cache(accesses, CachePolicy::kLru, 5).hits, 2U);
  EXPECT_EQ(model_cache(accesses, CachePolicy::kLru, 5).asked, 10U);
  EXPECT_EQ(model_cache(accesses, CachePolicy::kLru, 0).hits, 0U);
}

TEST(CacheModel, TheOptimumKnowsTheFuture) {
  // LRU of two misses all of a cycle of three; the optimum keeps one or two of them.
  const ChunkAccesses accesses{{{0}, {1}, {2}, {0}, {1}, {2}, {0}, {1}, {2}}, 3};
  EXPECT_EQ(model_cache(accesses, CachePolicy::kLru, 2).hits, 0U);
  EXPECT_EQ(model_optimum(accesses, 2).hits, 4U);
  EXPECT_EQ(model_optimum(accesses, 3).hits, 6U);
}

/// Every way to keep or drop, tried out.
uint64_t best_by_trial(const std::vector<uint32_t>& asked, size_t at, std::vector<uint32_t> held,
                       size_t capacity) {
  if (at == asked.size()) return 0;
  const bool hit = std::find(held.begin(), held.end(), asked[at]) != held.end();
  uint64_t best = best_by_trial(asked, at + 1, held, capacity);
  if (!hit) {
    if (held.size() < capacity) {
      auto more = held;
      more.push_back(asked[at]);
      best = std::max(best, best_by_trial(asked, at + 1, more, capacity));
    } else {
      for (size_t i = 0; i < held.size(); ++i) {
        auto other = held;
        other[i] = asked[at];
        best = std::max(best, best_by_trial(asked, at + 1, other, capacity));
      }
    }
  }
  return best + (hit ? 1 : 0);
}

TEST(CacheModel, TheOptimumIsWhatTryingEverythingFinds) {
  SeededRng rng;
  for (int round = 0; round < 50; ++round) {
    ChunkAccesses accesses;
    accesses.num_chunks = 5;
    std::vector<uint32_t> asked;
    for (int i = 0; i < 11; ++i) asked.push_back(static_cast<uint32_t>(rng.below(5)));
    accesses.requests = {asked};
    const size_t capacity = 1 + rng.below(3);
    EXPECT_EQ(model_optimum(accesses, capacity).hits, best_by_trial(asked, 0, {}, capacity));
  }
}

TEST(CacheModel, NoPolicyPassesTheOptimumAndAllMeetItWhereEverythingFits) {
  SeededRng rng;
  for (int round = 0; round < 20; ++round) {
    ChunkAccesses accesses;
    accesses.num_chunks = 200;
    for (int i = 0; i < 200; ++i) {
      const auto first = static_cast<uint32_t>(rng.below(20)) * 10;
      const auto count = static_cast<uint32_t>(1 + rng.below(10));
      std::vector<uint32_t>& request = accesses.requests.emplace_back();
      for (uint32_t c = 0; c < count; ++c) request.push_back(first + c);
    }
    for (const CachePolicy policy : kPolicies) {
      for (const size_t capacity : {1U, 7U, 40U, 120U}) {
        EXPECT_LE(model_cache(accesses, policy, capacity).hits,
                  model_optimum(accesses, capacity).hits);
      }
      EXPECT_EQ(model_cache(accesses, policy, 200).hits, model_optimum(accesses, 200).hits);
      EXPECT_EQ(model_cache(accesses, policy, 200).evictions, 0U);
    }
  }
}

}  // namespace
}  // namespace kvferry
