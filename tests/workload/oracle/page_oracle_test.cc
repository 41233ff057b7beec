#include "workload/oracle/page_oracle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/support/cuda_test.h"
#include "tests/support/engine_pair.h"
#include "tests/support/status_matchers.h"
#include "workload/engine/paged_kv_cache.h"

namespace kvferry::test {
namespace {

constexpr int64_t kTokens = 40;

ChunkHash hash_of(uint8_t mark) {
  ChunkHash hash;
  hash.bytes.fill(mark);
  return hash;
}

class PageOracleTest : public CudaTest, public ::testing::WithParamInterface<PagePreset> {
 protected:
  void check_on(Device device) {
    const auto cache = PagedKVCache::create(tiny_model(), GetParam(), 8, 1, device).value();
    PageOracle oracle = PageOracle::create(cache.layout(), kTokens).value();
    std::vector<int64_t> ours(kTokens);
    std::iota(ours.begin(), ours.end(), 16);
    std::rotate(ours.begin(), ours.begin() + 7, ours.end());  // not in order, over parts of blocks
    ours[3] = -1;
    const std::vector<int64_t> others = {0, 1, 2, 100};

    ASSERT_THAT(oracle.poison(others), IsOk());
    ASSERT_THAT(oracle.fill(ours, hash_of(1)), IsOk());
    EXPECT_FALSE(oracle.verify(ours, hash_of(1)).value().has_value());
    ASSERT_THAT(oracle.fill(others, hash_of(2)), IsOk());
    EXPECT_FALSE(oracle.verify(ours, hash_of(1)).value().has_value());
    EXPECT_FALSE(oracle.verify(others, hash_of(2)).value().has_value());

    ASSERT_THAT(oracle.poison(std::span(ours).subspan(5, 1)), IsOk());
    const auto found = oracle.verify(ours, hash_of(1));
    ASSERT_THAT(found, IsOk());
    ASSERT_TRUE(found->has_value());
    EXPECT_EQ((*found)->token, 5);
    EXPECT_EQ((*found)->slot, ours[5]);
    EXPECT_EQ((*found)->found, kPoisonByte);
  }
};

TEST_P(PageOracleTest, SeesTheSameInDeviceMemoryAsOnTheHost) {
  check_on(Device::host());
  check_on(Device::cuda(0));
}

INSTANTIATE_TEST_SUITE_P(Presets, PageOracleTest,
                         ::testing::Values(PagePreset::kVllmNhd, PagePreset::kVllmHnd,
                                           PagePreset::kFlashInfer, PagePreset::kCrossLayer),
                         [](const auto& each) {
                           return std::string(page_preset_name(each.param));
                         });

class PageOracleErrors : public CudaTest {};

TEST_F(PageOracleErrors, SlotsPastTheCacheAndTooManyTokensAreRefused) {
  const auto cache =
      PagedKVCache::create(tiny_model(), PagePreset::kVllmNhd, 4, 1, Device::cuda(0)).value();
  PageOracle oracle = PageOracle::create(cache.layout(), 16).value();
  EXPECT_THAT(oracle.fill(std::vector<int64_t>{0, 64}, hash_of(1)),
              StatusIs(StatusCode::kOutOfRange));
  EXPECT_THAT(oracle.fill(std::vector<int64_t>(17, 0), hash_of(1)),
              StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(fill_chunk(cache.layout(), std::vector<int64_t>{0}, hash_of(1)),
              StatusIs(StatusCode::kInvalidArgument, ::testing::HasSubstr("PageOracle")));
}

}  // namespace
}  // namespace kvferry::test
