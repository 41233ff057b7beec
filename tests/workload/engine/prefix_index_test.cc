#include "workload/engine/prefix_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointee;

using Blocks = std::vector<int64_t>;

CacheEngineKey key(uint8_t number) {
  CacheEngineKey key;
  key.model = "m";
  key.chunk_hash.bytes[31] = number;  // not in prefix64(): every key has the same hash value
  return key;
}

std::vector<CacheEngineKey> keys(std::initializer_list<uint8_t> numbers) {
  std::vector<CacheEngineKey> result;
  for (const uint8_t number : numbers) result.push_back(key(number));
  return result;
}

PrefixIndex index_of(std::initializer_list<uint8_t> numbers, int64_t max_blocks) {
  PrefixIndex index(max_blocks);
  for (const uint8_t number : numbers) EXPECT_THAT(index.insert(key(number), {number}), IsOk());
  return index;
}

/// Numbers of the keys that go when everything is evicted.
std::vector<int64_t> eviction_order(PrefixIndex& index) {
  std::vector<int64_t> order;
  while (auto evicted = index.evict_one()) order.push_back(evicted->key.chunk_hash.bytes[31]);
  return order;
}

TEST(PrefixIndex, FindsTheLongestHeldPrefix) {
  const PrefixIndex index = index_of({1, 2, 4}, 10);
  EXPECT_EQ(index.longest_prefix(keys({1, 2, 3, 4})), 2u);
  EXPECT_EQ(index.longest_prefix(keys({1, 2, 4})), 3u);
  EXPECT_EQ(index.longest_prefix(keys({3, 1})), 0u);
  EXPECT_EQ(index.longest_prefix({}), 0u);
  EXPECT_THAT(index.find(key(4)), Pointee(ElementsAre(4)));
  EXPECT_EQ(index.find(key(3)), nullptr);
}

TEST(PrefixIndex, KeysThatDifferInOneFieldAreDifferentChunks) {
  PrefixIndex index = index_of({1}, 10);
  CacheEngineKey other = key(1);
  other.tags = {{"tenant", "x"}};
  EXPECT_EQ(index.find(other), nullptr);
  EXPECT_THAT(index.insert(other, {7}), IsOk());
  EXPECT_EQ(index.num_chunks(), 2);
}

TEST(PrefixIndex, IsBoundedByBlocks) {
  PrefixIndex index(4);
  EXPECT_THAT(index.insert(key(1), {0, 1, 2}), IsOk());
  EXPECT_THAT(index.insert(key(2), {3, 4}),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("holds 3 of 4")));
  EXPECT_EQ(index.find(key(2)), nullptr);
  EXPECT_THAT(index.insert(key(3), {3}), IsOk());
  EXPECT_THAT(index.insert(key(3), {}),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr(key(3).to_string())));
  EXPECT_EQ(index.held_blocks(), 4);
  EXPECT_EQ(index.max_blocks(), 4);
}

TEST(PrefixIndex, EvictsTheLeastRecentlyUsedAndCounts) {
  PrefixIndex index = index_of({1, 2, 3}, 10);
  EXPECT_TRUE(index.touch(key(1)));
  EXPECT_FALSE(index.touch(key(9)));
  const auto evicted = index.evict_one();
  ASSERT_TRUE(evicted.has_value());
  EXPECT_EQ(evicted->key, key(2));
  EXPECT_THAT(evicted->blocks, ElementsAre(2));
  EXPECT_EQ(index.held_blocks(), 2);
  EXPECT_THAT(eviction_order(index), ElementsAre(3, 1));
  EXPECT_EQ(index.evictions(), 3);
  EXPECT_EQ(index.held_blocks(), 0);
  EXPECT_FALSE(index.evict_one().has_value());
  EXPECT_EQ(index.evictions(), 3);
}

TEST(PrefixIndex, PrefixOutlivesWhatFollowsIt) {
  PrefixIndex index = index_of({1, 2, 3, 4}, 10);
  index.touch_prefix(keys({1, 2, 9, 3}));
  EXPECT_THAT(eviction_order(index), ElementsAre(4, 3, 2, 1));
}

TEST(PrefixIndex, PinnedChunksStayUntilTheLastUnpin) {
  PrefixIndex index = index_of({1, 2}, 10);
  EXPECT_THAT(index.pin(key(1)), IsOk());
  EXPECT_THAT(index.pin(key(1)), IsOk());
  EXPECT_THAT(index.unpin(key(1)), IsOk());
  EXPECT_THAT(eviction_order(index), ElementsAre(2));
  EXPECT_THAT(index.unpin(key(1)), IsOk());
  EXPECT_THAT(eviction_order(index), ElementsAre(1));
}

TEST(PrefixIndex, PinsAreNoUseAndTouchesOfPinnedCount) {
  PrefixIndex index = index_of({1, 2, 3}, 10);
  EXPECT_THAT(index.pin(key(1)), IsOk());
  EXPECT_THAT(index.pin(key(2)), IsOk());
  EXPECT_TRUE(index.touch(key(2)));
  EXPECT_THAT(index.unpin(key(2)), IsOk());
  EXPECT_THAT(index.unpin(key(1)), IsOk());
  EXPECT_THAT(eviction_order(index), ElementsAre(1, 3, 2));
}

TEST(PrefixIndex, WrongPinsAreErrors) {
  PrefixIndex index = index_of({1}, 10);
  EXPECT_THAT(index.pin(key(2)), StatusIs(StatusCode::kNotFound, HasSubstr(key(2).to_string())));
  EXPECT_THAT(index.unpin(key(2)), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(index.unpin(key(1)), StatusIs(StatusCode::kFailedPrecondition));
}

TEST(PrefixIndex, EraseGivesTheBlocksBackUncounted) {
  PrefixIndex index = index_of({1, 2}, 10);
  EXPECT_THAT(index.pin(key(1)), IsOk());
  EXPECT_THAT(index.erase(key(1)), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(index.erase(key(3)), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(index.erase(key(2)), IsOkAndHolds(ElementsAre(2)));
  EXPECT_EQ(index.evictions(), 0);
  EXPECT_EQ(index.held_blocks(), 1);
  EXPECT_THAT(index.unpin(key(1)), IsOk());
  EXPECT_THAT(eviction_order(index), ElementsAre(1));
}

TEST(PrefixIndex, SurvivesAMove) {
  PrefixIndex index = index_of({1, 2, 3}, 10);
  PrefixIndex moved = std::move(index);
  EXPECT_TRUE(moved.touch(key(1)));
  EXPECT_THAT(eviction_order(moved), ElementsAre(2, 3, 1));
}

/// The same promises as a list in order of use, searched from its front.
class NaiveIndex {
 public:
  struct Entry {
    uint8_t number;
    Blocks blocks;
    int pins = 0;
  };

  explicit NaiveIndex(int64_t max_blocks) : max_blocks_(max_blocks) {}

  Entry* find(uint8_t number) {
    const auto found = std::ranges::find(entries_, number, &Entry::number);
    return found == entries_.end() ? nullptr : &*found;
  }
  bool insert(uint8_t number, const Blocks& blocks) {
    if (find(number) != nullptr || held() + static_cast<int64_t>(blocks.size()) > max_blocks_) {
      return false;
    }
    entries_.push_back({number, blocks});
    return true;
  }
  bool touch(uint8_t number) {
    const Entry* const entry = find(number);
    if (entry == nullptr) return false;
    std::rotate(entries_.begin() + (entry - entries_.data()),
                entries_.begin() + (entry - entries_.data()) + 1, entries_.end());
    return true;
  }
  std::optional<Entry> evict() {
    const auto victim = std::ranges::find(entries_, 0, &Entry::pins);
    if (victim == entries_.end()) return std::nullopt;
    Entry entry = *victim;
    entries_.erase(victim);
    return entry;
  }
  int64_t held() const {
    int64_t total = 0;
    for (const Entry& entry : entries_) total += static_cast<int64_t>(entry.blocks.size());
    return total;
  }

 private:
  int64_t max_blocks_;
  std::vector<Entry> entries_;  ///< least recently used first
};

class IndexAgainstModel {
 public:
  explicit IndexAgainstModel(SeededRng& random) : random_(random) {}

  void step() {
    const auto number = static_cast<uint8_t>(random_.below(40));
    NaiveIndex::Entry* const held = model_.find(number);
    switch (random_.below(6)) {
      case 0:
      case 1:
        insert(number);
        break;
      case 2:
        EXPECT_EQ(index_.touch(key(number)), model_.touch(number));
        break;
      case 3:
        evict();
        break;
      case 4:
        EXPECT_EQ(index_.pin(key(number)).is_ok(), held != nullptr);
        if (held != nullptr) ++held->pins;
        break;
      case 5: {
        const bool pinned = held != nullptr && held->pins > 0;
        EXPECT_EQ(index_.unpin(key(number)).is_ok(), pinned);
        if (pinned) --held->pins;
        break;
      }
    }
    EXPECT_EQ(index_.held_blocks(), model_.held());
    const Blocks* const found = index_.find(key(number));
    const NaiveIndex::Entry* const expected = model_.find(number);
    ASSERT_EQ(found != nullptr, expected != nullptr);
    if (found != nullptr) {
      EXPECT_EQ(*found, expected->blocks);
    }
  }

 private:
  void insert(uint8_t number) {
    const Blocks blocks(random_.below(5), number);
    EXPECT_EQ(index_.insert(key(number), blocks).is_ok(), model_.insert(number, blocks));
  }
  void evict() {
    const auto evicted = index_.evict_one();
    const auto expected = model_.evict();
    ASSERT_EQ(evicted.has_value(), expected.has_value());
    if (!evicted) return;
    EXPECT_EQ(evicted->key, key(expected->number));
    EXPECT_EQ(evicted->blocks, expected->blocks);
  }

  SeededRng& random_;
  PrefixIndex index_{32};
  NaiveIndex model_{32};
};

TEST(PrefixIndex, AgreesWithANaiveModel) {
  SeededRng random;
  IndexAgainstModel pair(random);
  for (int i = 0; i < 20000 && !::testing::Test::HasFailure(); ++i) pair.step();
}

}  // namespace
}  // namespace kvferry
