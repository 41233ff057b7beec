#include "cuda/host/streaming_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace kvferry {
namespace {

TEST(StreamingCopy, CopiesAnyLengthAndAlignmentAndNothingBeside) {
  std::mt19937_64 random(1);
  for (SimdLevel level : supported_simd_levels()) {
    SCOPED_TRACE(simd_level_name(level));
    for (size_t bytes : {0U, 1U, 63U, 64U, 65U, 127U, 4096U, 20000U}) {
      for (size_t shift : {0U, 1U, 32U, 63U}) {
        std::vector<std::byte> from(bytes + 64);
        for (std::byte& byte : from) byte = static_cast<std::byte>(random());
        std::vector<std::byte> to(bytes + 256, std::byte{0xC5});
        std::vector<std::byte> expected = to;
        std::copy_n(from.begin() + 3, bytes, expected.begin() + static_cast<int64_t>(shift) + 64);
        streaming_copy(to.data() + shift + 64, from.data() + 3, bytes, level);
        ASSERT_EQ(to, expected) << bytes << " bytes at " << shift;
      }
    }
  }
}

TEST(CpuFeatures, LevelsGrowFromPortableToTheBest) {
  const auto levels = supported_simd_levels();
  EXPECT_EQ(levels.front(), SimdLevel::kPortable);
  EXPECT_EQ(levels.back(), best_simd_level());
  EXPECT_TRUE(std::ranges::is_sorted(levels));
}

}  // namespace
}  // namespace kvferry
