#include "workload/oracle/kv_content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"
#include "workload/engine/paged_kv_cache.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::Optional;

const std::vector<PagePreset> kPresets = {PagePreset::kVllmNhd, PagePreset::kVllmHnd,
                                          PagePreset::kFlashInfer, PagePreset::kCrossLayer};

ModelShape shape(int32_t heads, int32_t head_dim, DType dtype = DType::kBF16) {
  return {"test", 3, heads, head_dim, dtype, PagePreset::kVllmNhd, 4};
}

PagedKVCache make_cache(const ModelShape& model, PagePreset preset, int64_t num_blocks = 16) {
  auto cache = PagedKVCache::create(model, preset, num_blocks, 3);
  EXPECT_THAT(cache, IsOk());
  return *std::move(cache);
}

ChunkHash chunk(uint8_t number) {
  ChunkHash hash;
  hash.bytes[0] = number;
  return hash;
}

std::vector<int64_t> slots_of(PagedKVCache& cache, int64_t num_tokens) {
  const auto blocks = cache.allocate(cache.blocks_for(num_tokens));
  EXPECT_THAT(blocks, IsOk());
  const auto slots = slots_from_block_table(*blocks, cache.model().block_tokens, 0, num_tokens);
  EXPECT_THAT(slots, IsOk());
  return *slots;
}

std::byte& byte_at(const KVLayout& layout, size_t plane, int64_t slot, int64_t head,
                   int64_t content) {
  const KVGroup& group = layout.groups[0];
  const KVPlane& p = group.planes[plane];
  return p.base[slot / group.block_tokens * p.block_stride_bytes +
                slot % group.block_tokens * p.token_stride_bytes + head * p.head_stride_bytes +
                content];
}

std::vector<std::byte> row(const ChunkHash& hash, int64_t token, int32_t plane, size_t size) {
  std::vector<std::byte> bytes(size);
  expected_row(hash, token, plane, 0, bytes);
  return bytes;
}

TEST(KVContent, FilledChunkVerifiesInEveryLayout) {
  for (const PagePreset preset : kPresets) {
    for (const ModelShape& model : {shape(2, 64), shape(3, 80), shape(1, 5, DType::kU8)}) {
      PagedKVCache cache = make_cache(model, preset);
      const auto slots = slots_of(cache, 50);
      ASSERT_THAT(fill_chunk(cache.layout(), slots, chunk(1)), IsOk());
      EXPECT_THAT(verify_chunk(cache.layout(), slots, chunk(1)), IsOkAndHolds(Eq(std::nullopt)));
    }
  }
}

TEST(KVContent, PagesHoldTheExpectedRowsHeadByHead) {
  for (const PagePreset preset : kPresets) {
    PagedKVCache cache = make_cache(shape(3, 10), preset);
    const auto slots = slots_of(cache, 9);
    ASSERT_THAT(fill_chunk(cache.layout(), slots, chunk(1)), IsOk());
    for (size_t plane = 0; plane < 6; ++plane) {
      for (size_t token = 0; token < slots.size(); ++token) {
        const auto expected =
            row(chunk(1), static_cast<int64_t>(token), static_cast<int32_t>(plane), 60);
        for (int64_t i = 0; i < 60; ++i) {
          ASSERT_EQ(byte_at(cache.layout(), plane, slots[token], i / 20, i % 20),
                    expected[static_cast<size_t>(i)]);
        }
      }
    }
  }
}

TEST(KVContent, MismatchIsReportedWithExactCoordinates) {
  SeededRng random;
  for (const PagePreset preset : kPresets) {
    PagedKVCache cache = make_cache(shape(3, 10), preset);
    const auto slots = slots_of(cache, 37);
    ASSERT_THAT(fill_chunk(cache.layout(), slots, chunk(1)), IsOk());
    for (int round = 0; round < 50; ++round) {
      const size_t plane = random.below(6);
      const size_t token = random.below(37);
      const int64_t head = random.between(0, 2);
      const int64_t content = random.between(0, 19);
      std::byte& byte = byte_at(cache.layout(), plane, slots[token], head, content);
      const std::byte right = byte;
      byte ^= static_cast<std::byte>(1 << random.below(8));
      const auto result = verify_chunk(cache.layout(), slots, chunk(1));
      ASSERT_TRUE(result && result->has_value());
      const ContentMismatch& mismatch = **result;
      EXPECT_EQ(mismatch.plane, static_cast<int32_t>(plane));
      EXPECT_EQ(mismatch.layer, static_cast<int32_t>(plane / 2));
      EXPECT_EQ(mismatch.role, plane % 2 == 0 ? KVRole::kKey : KVRole::kValue);
      EXPECT_EQ(mismatch.token, static_cast<int64_t>(token));
      EXPECT_EQ(mismatch.slot, slots[token]);
      EXPECT_EQ(mismatch.head, head);
      EXPECT_EQ(mismatch.byte, content);
      EXPECT_EQ(mismatch.expected, right);
      EXPECT_EQ(mismatch.found, byte);
      byte = right;
    }
  }
}

TEST(KVContent, MismatchReadsWell) {
  const ContentMismatch mismatch{.plane = 11,
                                 .layer = 5,
                                 .role = KVRole::kValue,
                                 .token = 17,
                                 .slot = 4711,
                                 .head = 1,
                                 .byte = 90,
                                 .expected = std::byte{0x0f},
                                 .found = std::byte{0xa0}};
  EXPECT_EQ(mismatch.to_string(),
            "layer 5 value token 17 (slot 4711) head 1 byte 90: expected 0x0f, found 0xa0");
}

TEST(KVContent, FirstMismatchIsTheOneReported) {
  PagedKVCache cache = make_cache(shape(2, 8), PagePreset::kVllmHnd);
  const auto slots = slots_of(cache, 8);
  ASSERT_THAT(fill_chunk(cache.layout(), slots, chunk(1)), IsOk());
  byte_at(cache.layout(), 4, slots[0], 0, 0) ^= std::byte{1};
  byte_at(cache.layout(), 3, slots[5], 1, 2) ^= std::byte{1};
  byte_at(cache.layout(), 3, slots[5], 1, 9) ^= std::byte{1};
  const auto result = verify_chunk(cache.layout(), slots, chunk(1));
  ASSERT_TRUE(result && result->has_value());
  EXPECT_THAT((*result)->to_string(), HasSubstr("layer 1 value token 5"));
  EXPECT_EQ((*result)->byte, 2);
}

TEST(KVContent, SwappedPagesTokensLayersAndChunksAreSeen) {
  PagedKVCache cache = make_cache(shape(2, 64), PagePreset::kVllmNhd);
  const auto slots = slots_of(cache, 32);
  ASSERT_THAT(fill_chunk(cache.layout(), slots, chunk(1)), IsOk());
  EXPECT_THAT(verify_chunk(cache.layout(), slots, chunk(2)),
              IsOkAndHolds(testing::Not(Eq(std::nullopt))));
  auto swapped = slots;
  std::swap_ranges(swapped.begin(), swapped.begin() + 4, swapped.begin() + 8);
  EXPECT_THAT(verify_chunk(cache.layout(), swapped, chunk(1)),
              IsOkAndHolds(testing::Not(Eq(std::nullopt))));
  KVLayout crossed = cache.layout();
  std::swap(crossed.groups[0].planes[2].base, crossed.groups[0].planes[4].base);
  EXPECT_THAT(verify_chunk(crossed, slots, chunk(1)), IsOkAndHolds(testing::Not(Eq(std::nullopt))));
}

TEST(KVContent, RowsOfChunksTokensAndPlanesShareAlmostNoByte) {
  std::vector<std::vector<std::byte>> rows;
  for (uint8_t number = 0; number < 4; ++number) {
    for (int64_t token = 0; token < 8; ++token) {
      for (int32_t plane = 0; plane < 6; ++plane)
        rows.push_back(row(chunk(number), token, plane, 512));
    }
  }
  for (size_t a = 0; a < rows.size(); ++a) {
    for (size_t b = 0; b < a; ++b) {
      const int equal = std::inner_product(rows[a].begin(), rows[a].end(), rows[b].begin(), 0,
                                           std::plus<>(), std::equal_to<>());
      ASSERT_LT(equal, 20) << "2 are expected of 512";
    }
  }
}

uint64_t word_at(const std::vector<std::byte>& bytes, size_t offset) {
  uint64_t word = 0;
  std::memcpy(&word, bytes.data() + offset, sizeof(word));
  return word;
}

TEST(KVContent, WordsOfARowAreAllDifferent) {
  const auto bytes = row(chunk(3), 7, 2, 1 << 16);
  std::set<uint64_t> words;
  for (size_t i = 0; i < bytes.size(); i += 8) words.insert(word_at(bytes, i));
  EXPECT_EQ(words.size(), bytes.size() / 8);
}

TEST(KVContent, StreamIsTheSameInEveryBuild) {
  // Computed apart from this code, by its definition.
  EXPECT_EQ(word_at(row(chunk(1), 0, 0, 8), 0), 0x8a6815f572e7186fu);
}

TEST(KVContent, ARankHoldsItsHeadsPartOfTheRow) {
  PagedKVCache whole = make_cache(shape(4, 5, DType::kU8), PagePreset::kVllmNhd);
  PagedKVCache part = make_cache(shape(2, 5, DType::kU8), PagePreset::kVllmHnd);
  KVLayout layout = part.layout();
  layout.heads = {.global_heads = 4, .begin = 1, .count = 2};
  const auto whole_slots = slots_of(whole, 6);
  const auto part_slots = slots_of(part, 6);
  ASSERT_THAT(fill_chunk(whole.layout(), whole_slots, chunk(1)), IsOk());
  ASSERT_THAT(fill_chunk(layout, part_slots, chunk(1)), IsOk());
  for (size_t plane = 0; plane < 6; ++plane) {
    for (size_t token = 0; token < 6; ++token) {
      for (int64_t i = 0; i < 10; ++i) {
        EXPECT_EQ(byte_at(layout, plane, part_slots[token], i / 5, i % 5),
                  byte_at(whole.layout(), plane, whole_slots[token], i / 5 + 1, i % 5));
      }
    }
  }
}

TEST(KVContent, TouchesTheGivenSlotsOnly) {
  for (const PagePreset preset : kPresets) {
    PagedKVCache cache = make_cache(shape(2, 9), preset);
    std::vector<int64_t> all(64);
    std::iota(all.begin(), all.end(), 0);
    ASSERT_THAT(poison_slots(cache.layout(), all), IsOk());
    const std::vector<int64_t> slots = {5, -1, 17, -7, 63};
    ASSERT_THAT(fill_chunk(cache.layout(), slots, chunk(1)), IsOk());
    EXPECT_THAT(verify_chunk(cache.layout(), slots, chunk(1)), IsOkAndHolds(Eq(std::nullopt)));
    for (const int64_t slot : all) {
      if (std::ranges::count(slots, slot) > 0) continue;
      for (size_t plane = 0; plane < 6; ++plane) {
        for (int64_t i = 0; i < 36; ++i) {
          ASSERT_EQ(byte_at(cache.layout(), plane, slot, i / 18, i % 18), kPoisonByte);
        }
      }
    }
  }
}

TEST(KVContent, AnyByteWrittenIntoPoisonedSlotsIsSeen) {
  for (const PagePreset preset : kPresets) {
    PagedKVCache cache = make_cache(shape(2, 9), preset);
    const std::vector<int64_t> slots = {5, -1, 17};
    EXPECT_THAT(are_poisoned(cache.layout(), slots), IsOkAndHolds(false)) << "pages are zero";
    ASSERT_THAT(poison_slots(cache.layout(), slots), IsOk());
    EXPECT_THAT(are_poisoned(cache.layout(), slots), IsOkAndHolds(true));
    ASSERT_THAT(fill_chunk(cache.layout(), std::span(slots).last(1), chunk(1)), IsOk());
    EXPECT_THAT(are_poisoned(cache.layout(), slots), IsOkAndHolds(false));
    EXPECT_THAT(are_poisoned(cache.layout(), std::span(slots).first(2)), IsOkAndHolds(true));
  }
}

TEST(KVContent, PoisonedSlotDoesNotPass) {
  for (const PagePreset preset : kPresets) {
    PagedKVCache cache = make_cache(shape(2, 8), preset);
    const auto slots = slots_of(cache, 20);
    ASSERT_THAT(fill_chunk(cache.layout(), slots, chunk(1)), IsOk());
    ASSERT_THAT(poison_slots(cache.layout(), std::span(slots).subspan(13, 1)), IsOk());
    const auto result = verify_chunk(cache.layout(), slots, chunk(1));
    ASSERT_TRUE(result && result->has_value());
    EXPECT_EQ((*result)->token, 13);
    EXPECT_EQ((*result)->found, kPoisonByte);
  }
}

TEST(KVContent, SlotPastTheCacheIsRefusedBeforeAnyWrite) {
  PagedKVCache cache = make_cache(shape(2, 8), PagePreset::kVllmNhd);
  const std::vector<int64_t> slots = {0, 64};
  const auto refused = StatusIs(StatusCode::kOutOfRange,
                                AllOf(HasSubstr("token 1 has slot 64"), HasSubstr("has 64")));
  EXPECT_THAT(fill_chunk(cache.layout(), slots, chunk(1)), refused);
  EXPECT_THAT(verify_chunk(cache.layout(), slots, chunk(1)), refused);
  EXPECT_THAT(poison_slots(cache.layout(), slots), refused);
  EXPECT_EQ(byte_at(cache.layout(), 0, 0, 0, 0), std::byte{0});
}

TEST(KVContent, SeveralGroupsAreUnimplemented) {
  PagedKVCache cache = make_cache(shape(2, 8), PagePreset::kVllmNhd);
  KVLayout layout = cache.layout();
  layout.groups.push_back(layout.groups[0]);
  EXPECT_THAT(fill_chunk(layout, {}, chunk(1)),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("this has 2")));
}

}  // namespace
}  // namespace kvferry
