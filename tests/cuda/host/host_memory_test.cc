#include "cuda/host/host_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

TEST(HostBuffer, IsAlignedZeroedAndOfTheSizeAskedFor) {
  const auto buffer = HostBuffer::create(3 * kMiB + 5);
  ASSERT_THAT(buffer, IsOk());
  EXPECT_EQ(buffer->size(), 3 * kMiB + 5);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % HostBuffer::kAlignment, 0U);
  EXPECT_TRUE(std::ranges::all_of(buffer->bytes(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(HostBuffer, CountsHugePagesOnlyWhereTheyWereAskedFor) {
  const auto plain = HostBuffer::create(4 * kMiB, {.huge_pages = HugePages::kNever});
  ASSERT_THAT(plain, IsOk());
  EXPECT_EQ(plain->huge_page_bytes(), 0U);
  const auto huge = HostBuffer::create(4 * kMiB, {.huge_pages = HugePages::kPrefer});
  ASSERT_THAT(huge, IsOk());
  EXPECT_LE(huge->huge_page_bytes(), 4 * kMiB);  // how many is up to the system
}

TEST(HostBuffer, MovesAndSurvivesBeingMovedFrom) {
  HostBuffer first = HostBuffer::create(kMiB, {.prefault = false}).value();
  std::byte* const data = first.data();
  data[7] = std::byte{42};
  HostBuffer second = std::move(first);
  EXPECT_EQ(second.data(), data);
  EXPECT_EQ(first.data(), nullptr);  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(first.size(), 0U);
  HostBuffer& alias = second;
  second = std::move(alias);
  EXPECT_EQ(second.data()[7], std::byte{42});
  first = HostBuffer::create(2 * kMiB).value();
  first = std::move(second);
  EXPECT_EQ(first.data(), data);
}

TEST(HostBuffer, NothingAndTooMuchAreRefused) {
  EXPECT_THAT(HostBuffer::create(0), StatusIs(StatusCode::kInvalidArgument));
  const auto huge = HostBuffer::create(SIZE_MAX / 2);
  EXPECT_THAT(huge, StatusIs(StatusCode::kResourceExhausted));
  EXPECT_EQ(huge.error().domain(), ErrorDomain::kErrno);
  EXPECT_THAT(HostBuffer::create(SIZE_MAX), StatusIs(StatusCode::kResourceExhausted));
}

}  // namespace
}  // namespace kvferry
