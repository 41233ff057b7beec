#include "cuda/memory_query.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "cuda/device_memory.h"
#include "cuda/pinned_memory.h"
#include "tests/support/cuda_test.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

class MemoryQueryTest : public test::CudaTest {};

TEST_F(MemoryQueryTest, KnowsDeviceMemoryAnywhereInTheAllocation) {
  for (int32_t device = 0; device < num_devices(); ++device) {
    const DeviceMemory memory = DeviceMemory::create(device, 5000).value();
    for (const size_t offset : {size_t{0}, size_t{1}, size_t{4999}}) {
      EXPECT_THAT(find_memory(memory.data() + offset),
                  IsOkAndHolds(MemoryPlace{MemoryPlace::Kind::kDevice, device}));
    }
  }
}

TEST_F(MemoryQueryTest, TellsPinnedFromPageableHostMemory) {
  const PinnedMemory pinned = PinnedMemory::create(5000).value();
  const std::vector<std::byte> pageable(5000);
  const auto place = find_memory(pinned.data() + 4999);
  ASSERT_THAT(place, IsOk());
  EXPECT_EQ(place->kind, MemoryPlace::Kind::kPinnedHost);
  EXPECT_THAT(find_memory(pageable.data()), IsOkAndHolds(MemoryPlace{}));
  EXPECT_THAT(find_memory(&place), IsOkAndHolds(MemoryPlace{}));
}

TEST_F(MemoryQueryTest, RefusesNull) {
  EXPECT_THAT(find_memory(nullptr), StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace kvferry
