#include "core/chunk_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <set>
#include <string>

#include "tests/support/seeded_rng.h"

namespace kvferry {
namespace {

CacheEngineKey key(uint8_t number) {
  CacheEngineKey key;
  key.model = "m";
  key.chunk_hash.bytes[0] = number;
  return key;
}

using Index = ChunkIndex<int>;
constexpr auto kAnyIsFree = [](const Index::Entry&) { return true; };

/// Evicts one and says which; -1: none may go.
int evict(Index& index) {
  int evicted = -1;
  index.evict(kAnyIsFree, [&](const CacheEngineKey&, int value) { evicted = value; });
  return evicted;
}

Index filled(CachePolicy policy, int count) {
  Index index(policy, 1000, 10);
  for (int i = 0; i < count; ++i) index.insert(key(static_cast<uint8_t>(i)), 10, i);
  return index;
}

TEST(ChunkIndex, LruEvictsWhatWasUsedLongestAgo) {
  Index index = filled(CachePolicy::kLru, 4);
  index.touch(*index.find(key(0)));
  index.touch(*index.find(key(2)));
  EXPECT_EQ(evict(index), 1);
  EXPECT_EQ(evict(index), 3);
  EXPECT_EQ(evict(index), 0);
  EXPECT_EQ(evict(index), 2);
  EXPECT_EQ(evict(index), -1);
}

TEST(ChunkIndex, FifoEvictsWhatCameFirstHoweverOftenItIsUsed) {
  Index index = filled(CachePolicy::kFifo, 3);
  index.touch(*index.find(key(0)));
  EXPECT_EQ(evict(index), 0);
  EXPECT_EQ(evict(index), 1);
  EXPECT_EQ(evict(index), 2);
}

TEST(ChunkIndex, S3FifoKeepsWhatIsUsedAgainThroughAScan) {
  Index index(CachePolicy::kS3Fifo, 1000, 10);
  for (int round = 0; round < 3; ++round) {
    for (uint8_t hot = 0; hot < 10; ++hot) {
      if (Index::Entry* entry = index.find(key(hot)); entry != nullptr) {
        index.touch(*entry);
      } else {
        index.insert(key(hot), 10, hot);
      }
    }
  }
  for (int i = 50; i < 250; ++i) {  // 200 that are used once
    while (!index.has_room(10)) evict(index);
    index.insert(key(static_cast<uint8_t>(i)), 10, i);
  }
  for (uint8_t hot = 0; hot < 10; ++hot) EXPECT_NE(index.find(key(hot)), nullptr) << int{hot};
}

TEST(ChunkIndex, S3FifoTakesAGhostStraightIntoTheMainQueue) {
  Index index(CachePolicy::kS3Fifo, 100, 10);
  for (int i = 0; i < 10; ++i) index.insert(key(static_cast<uint8_t>(i)), 10, i);
  EXPECT_EQ(evict(index), 0);
  index.insert(key(0), 10, 0);  // again: it was wanted after all
  for (int i = 20; i < 26; ++i) {
    evict(index);
    index.insert(key(static_cast<uint8_t>(i)), 10, i);
  }
  EXPECT_NE(index.find(key(0)), nullptr);
}

TEST(ChunkIndex, WhatIsPinnedOrInUseIsPassedOver) {
  for (const CachePolicy policy : {CachePolicy::kLru, CachePolicy::kFifo, CachePolicy::kS3Fifo}) {
    Index index = filled(policy, 5);
    index.find(key(0))->pins.pin(7);
    index.find(key(1))->pins.pin(7);
    const auto is_free = [](const Index::Entry& entry) { return entry.value != 2; };
    std::set<int> evicted;
    while (index.evict(is_free, [&](const CacheEngineKey&, int value) { evicted.insert(value); })) {
    }
    EXPECT_EQ(evicted, (std::set<int>{3, 4})) << cache_policy_name(policy);
    EXPECT_TRUE(index.find(key(0))->pins.unpin(7));
    evicted = {evict(index), evict(index)};
    EXPECT_EQ(evicted, (std::set<int>{0, 2}));
    EXPECT_EQ(evict(index), -1);
  }
}

/// Random operations on all three, against a plain list in the order that LRU and FIFO keep.
TEST(ChunkIndex, HoldsWhatAPlainListHolds) {
  SeededRng rng;
  for (const CachePolicy policy : {CachePolicy::kLru, CachePolicy::kFifo, CachePolicy::kS3Fifo}) {
    constexpr size_t kMax = 400;
    Index index(policy, kMax, 20);
    std::list<std::pair<uint8_t, size_t>> plain;  // front: what goes next, but for S3-FIFO
    const auto find = [&](uint8_t number) {
      return std::find_if(plain.begin(), plain.end(),
                          [number](const auto& each) { return each.first == number; });
    };
    for (int step = 0; step < 20000; ++step) {
      const auto number = static_cast<uint8_t>(rng.below(60));
      const auto held = find(number);
      Index::Entry* entry = index.find(key(number));
      ASSERT_EQ(entry != nullptr, held != plain.end());
      const uint64_t what = rng.below(10);
      if (entry == nullptr) {
        const size_t bytes = 1 + rng.below(40);
        while (!index.has_room(bytes)) {
          int gone = -1;
          ASSERT_TRUE(index.evict(kAnyIsFree, [&](const CacheEngineKey& out, int value) {
            gone = value;
            EXPECT_EQ(out, key(static_cast<uint8_t>(value)));
          }));
          if (policy != CachePolicy::kS3Fifo) {
            EXPECT_EQ(gone, plain.front().first);
          }
          plain.erase(find(static_cast<uint8_t>(gone)));
        }
        index.insert(key(number), bytes, number);
        plain.emplace_back(number, bytes);
      } else if (what < 7) {
        index.touch(*entry);
        if (policy == CachePolicy::kLru) plain.splice(plain.end(), plain, held);
      } else {
        EXPECT_EQ(index.erase(*entry), number);
        plain.erase(held);
      }
      size_t bytes = 0;
      for (const auto& each : plain) bytes += each.second;
      ASSERT_EQ(index.bytes(), bytes);
      ASSERT_EQ(index.size(), plain.size());
      ASSERT_LE(index.bytes(), kMax);
    }
    EXPECT_EQ(index.take_all().size(), plain.size());
    EXPECT_EQ(index.bytes(), 0U);
  }
}

}  // namespace
}  // namespace kvferry
