#include "workload/meters/copy_meter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "tests/support/status_matchers.h"
#include "workload/meters/chunk_ring.h"
#include "workload/meters/chunk_walk.h"
#include "workload/oracle/kv_content.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

const ModelShape kTiny{"tiny", 3, 2, 64, DType::kBF16, PagePreset::kVllmNhd, 16};
const ModelShape kTinyMla{"tiny-mla", 3, 1, 576, DType::kBF16, PagePreset::kMla, 64};
constexpr int64_t kChunkBlocks = 16;  // of kTiny

// Few rounds, and more of them than there are chunks, so that the walk starts again.
const CopyMeterOptions kQuick{
    .fragment_bytes = 64 * 1024, .ring_chunks = 2, .time_limit = Duration::zero(), .min_rounds = 7};

PagedKVCache make_cache(const ModelShape& model, int64_t num_blocks,
                        PagePreset preset = PagePreset::kVllmNhd) {
  return PagedKVCache::create(model, preset, num_blocks, 1).value();
}

TEST(CopyMeter, MeasuresBothWaysInEveryPageLayout) {
  for (const PagePreset preset : {PagePreset::kVllmNhd, PagePreset::kVllmHnd,
                                  PagePreset::kFlashInfer, PagePreset::kCrossLayer}) {
    const PagedKVCache cache = make_cache(kTiny, 5 * kChunkBlocks + 3, preset);
    CopyMeterOptions streaming = kQuick;
    streaming.gather_store = StoreHint::kStreaming;
    for (const auto& rates : {measure_gather(cache, kQuick), measure_gather(cache, streaming),
                              measure_scatter(cache, kQuick)}) {
      ASSERT_THAT(rates, IsOk()) << page_preset_name(preset);
      EXPECT_EQ(rates->rounds, 7);
      EXPECT_GT(rates->ours_gbps, 0);
      EXPECT_GT(rates->ceiling_gbps, 0);
      EXPECT_FALSE(rates->exceeds_cache);
    }
  }
}

TEST(CopyMeter, MeasuresLatents) {
  const PagedKVCache cache = make_cache(kTinyMla, 9, PagePreset::kMla);
  EXPECT_THAT(measure_gather(cache, kQuick), IsOk());
  EXPECT_THAT(measure_scatter(cache, kQuick), IsOk());
}

TEST(CopyMeter, StopsAtTheRoundLimit) {
  const PagedKVCache cache = make_cache(kTiny, kChunkBlocks);
  CopyMeterOptions options = kQuick;
  options.time_limit = std::chrono::hours(1);
  options.max_rounds = 9;
  const auto rates = measure_gather(cache, options);
  ASSERT_THAT(rates, IsOk());
  EXPECT_EQ(rates->rounds, 9);
}

TEST(CopyMeter, WritesOnlyPages) {
  const ModelShape narrow{"narrow", 3, 1, 8, DType::kBF16, PagePreset::kVllmNhd, 4};
  const PagedKVCache cache = make_cache(narrow, 65);
  const int64_t used = buffer_bytes(narrow.preset, narrow.paged_shape(cache.num_blocks()));
  const auto gap = static_cast<size_t>(cache.total_bytes() / narrow.num_layers - used);
  ASSERT_GT(gap, 0U);
  std::byte* const end = cache.layout().groups[0].planes.back().base + used / 2;
  std::fill_n(end, gap, std::byte{0x5a});
  ASSERT_THAT(measure_scatter(cache, kQuick), IsOk());
  EXPECT_EQ(std::vector<std::byte>(end, end + gap), std::vector<std::byte>(gap, std::byte{0x5a}));
}

TEST(CopyMeter, RefusesWhatCannotBeMeasured) {
  const PagedKVCache small = make_cache(kTiny, kChunkBlocks - 1);
  EXPECT_THAT(measure_gather(small, kQuick),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("15 blocks")));
  const PagedKVCache cache = make_cache(kTiny, kChunkBlocks);
  const auto with = [](auto change) {
    CopyMeterOptions options = kQuick;
    change(options);
    return options;
  };
  EXPECT_THAT(measure_gather(cache, with([](auto& o) { o.ring_chunks = 0; })),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("ring_chunks 0")));
  EXPECT_THAT(measure_scatter(cache, with([](auto& o) { o.min_rounds = 0; })),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(measure_scatter(cache, with([](auto& o) { o.max_rounds = 3; })),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("from 7 to 3")));
  EXPECT_THAT(measure_gather(cache, with([](auto& o) { o.fragment_bytes = 0; })),
              StatusIs(StatusCode::kInvalidArgument));
}

TEST(ChunkWalk, UsesEachBlockAtMostOnce) {
  const PagedKVCache cache = make_cache(kTiny, 4 * kChunkBlocks + 5);
  const auto walk = ChunkWalk::create(cache, 64 * 1024, 3);
  ASSERT_THAT(walk, IsOk());
  ASSERT_EQ(walk->num_chunks(), 4U);
  std::vector<int> uses(static_cast<size_t>(cache.layout().groups[0].num_slots()));
  for (size_t i = 0; i < walk->num_chunks(); ++i) {
    for (const int64_t slot : walk->chunk(i).slots()) ++uses.at(static_cast<size_t>(slot));
  }
  EXPECT_EQ(std::ranges::count(uses, 1), 4 * kDefaultChunkTokens);
  EXPECT_EQ(std::ranges::count(uses, 0), 5 * kTiny.block_tokens);
  EXPECT_EQ(&walk->chunk(4), &walk->chunk(0));
  EXPECT_EQ(walk->working_set_bytes(3), 3 * walk->layout().size_bytes);
  EXPECT_EQ(walk->working_set_bytes(300), 4 * walk->layout().size_bytes);
}

TEST(ChunkRing, PutsPiecesWhereTheirFragmentsLie) {
  const PagedKVCache cache = make_cache(kTiny, kChunkBlocks);
  const auto walk = ChunkWalk::create(cache, 128 * 1024, 3);
  ASSERT_THAT(walk, IsOk());
  const auto ring = ChunkRing::create(*walk, 2);
  ASSERT_THAT(ring, IsOk());
  ASSERT_EQ(ring->pieces_per_chunk(), 3);  // a layer of 128 KiB each
  EXPECT_EQ(ring->num_pieces(), 6);
  EXPECT_EQ(ring->piece(4).data(), ring->chunk(1).data() + walk->fragments()[1].offset_bytes);
  EXPECT_EQ(ring->piece(4).size(), 128U * 1024);
  EXPECT_EQ(ring->piece(4).data(), ring->piece(10).data());
  EXPECT_NE(ring->piece(4).data(), ring->piece(1).data());
  EXPECT_THAT(ChunkRing::create(*walk, 0), StatusIs(StatusCode::kInvalidArgument));
}

TEST(LastLevelCache, IsNeitherNothingNorEverything) {
  EXPECT_FALSE(exceeds_last_level_cache(0));
  EXPECT_FALSE(exceeds_last_level_cache(1));
}

}  // namespace
}  // namespace kvferry
