#include "cuda/pinned_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cuda/memory_query.h"
#include "tests/cuda/owner_moves.h"
#include "tests/support/cuda_test.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

class PinnedMemoryTest : public test::CudaTest {};

TEST_F(PinnedMemoryTest, IsHostMemoryThatCudaKnows) {
  const auto memory = PinnedMemory::create(100'001);
  ASSERT_THAT(memory, IsOk());
  EXPECT_EQ(memory->size(), 100'001U);
  std::ranges::fill(memory->bytes(), std::byte{42});
  EXPECT_THAT(memory->bytes(), Each(std::byte{42}));
  const auto place = find_memory(memory->data() + 100'000);
  ASSERT_THAT(place, IsOk());
  EXPECT_EQ(place->kind, MemoryPlace::Kind::kPinnedHost);
}

TEST_F(PinnedMemoryTest, NothingAndTooMuchAreRefused) {
  EXPECT_THAT(PinnedMemory::create(0), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(PinnedMemory::create(size_t{1} << 50),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("1125899906842624 bytes")));
}

TEST_F(PinnedMemoryTest, Moves) {
  test::expect_moves(PinnedMemory::create(1000).value(), PinnedMemory::create(2000).value(),
                     [](const PinnedMemory& memory) -> const void* { return memory.data(); });
}

}  // namespace
}  // namespace kvferry
