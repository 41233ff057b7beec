#include "workload/engine/paged_kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

const ModelShape kTiny{"tiny", 3, 2, 8, DType::kBF16, PagePreset::kVllmNhd, 4};

TEST(PagedKVCache, HoldsEveryModelInItsOwnLayout) {
  for (const ModelShape& model : list_models()) {
    const auto cache = PagedKVCache::create(model, model.preset, 4, 1);
    ASSERT_THAT(cache, IsOk()) << model.name;
    EXPECT_EQ(cache->layout().token_bytes(), model.token_bytes());
    EXPECT_EQ(cache->layout().groups[0].num_slots(), 4 * model.block_tokens);
    EXPECT_GE(cache->total_bytes(), 4 * model.block_tokens * model.token_bytes());
    EXPECT_EQ(cache->total_bytes(), PagedKVCache::bytes_needed(model, model.preset, 4));
    EXPECT_THAT(validate(cache->layout()), IsOk());
  }
}

TEST(PagedKVCache, EveryPresetCanBeWrittenToItsLastByte) {
  for (const PagePreset preset : {PagePreset::kVllmNhd, PagePreset::kVllmHnd,
                                  PagePreset::kFlashInfer, PagePreset::kCrossLayer}) {
    const auto cache = PagedKVCache::create(kTiny, preset, 5, 1);
    ASSERT_THAT(cache, IsOk());
    for (const KVPlane& plane : cache->layout().groups[0].planes) {
      std::byte& last = plane.base[4 * plane.block_stride_bytes + 3 * plane.token_stride_bytes +
                                   plane.head_stride_bytes + plane.content_bytes - 1];
      EXPECT_EQ(last, std::byte{0});
      last = std::byte{1};  // twice the same byte, or one past the end, is seen
    }
  }
}

TEST(PagedKVCache, PagesStayWhereTheyAreWhenTheCacheMoves) {
  auto cache = PagedKVCache::create(kTiny, PagePreset::kVllmNhd, 5, 1);
  ASSERT_THAT(cache, IsOk());
  std::byte* const page = cache->layout().groups[0].planes[0].base;
  *page = std::byte{7};
  const PagedKVCache moved = *std::move(cache);
  EXPECT_EQ(moved.layout().groups[0].planes[0].base, page);
  EXPECT_EQ(*page, std::byte{7});
}

TEST(PagedKVCache, BlockTablesCoverTokensAndRunOut) {
  auto cache = PagedKVCache::create(kTiny, PagePreset::kVllmNhd, 5, 1);
  ASSERT_THAT(cache, IsOk());
  EXPECT_EQ(cache->blocks_for(0), 0);
  EXPECT_EQ(cache->blocks_for(1), 1);
  EXPECT_EQ(cache->blocks_for(4), 1);
  EXPECT_EQ(cache->blocks_for(17), 5);
  const auto table = cache->allocate(cache->blocks_for(17));
  ASSERT_THAT(table, IsOkAndHolds(SizeIs(5)));
  EXPECT_EQ(cache->free_blocks(), 0);
  EXPECT_THAT(cache->allocate(1), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(cache->free(*table), IsOk());
  EXPECT_EQ(cache->free_blocks(), cache->num_blocks());
}

TEST(PagedKVCache, RefusesWhatCannotBe) {
  const auto create = [](int64_t num_blocks, PagePreset preset = PagePreset::kVllmNhd) {
    return PagedKVCache::create(kTiny, preset, num_blocks, 1);
  };
  EXPECT_THAT(create(0),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("0 blocks of model tiny")));
  EXPECT_THAT(create(-1), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(create(int64_t{1} << 50), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(create(4, PagePreset::kMla), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_EQ(PagedKVCache::bytes_needed(kTiny, PagePreset::kVllmNhd, 0), 0);
}

}  // namespace
}  // namespace kvferry
