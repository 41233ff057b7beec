#include "cuda/device_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda/memory_query.h"
#include "tests/cuda/owner_moves.h"
#include "tests/support/cuda_test.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

class DeviceMemoryTest : public test::CudaTest {};

TEST_F(DeviceMemoryTest, LiesOnItsDeviceAndHoldsWhatIsCopiedThere) {
  for (int32_t device = 0; device < num_devices(); ++device) {
    const size_t bytes = 1 + rng.below(1 << 20);
    const auto memory = DeviceMemory::create(device, bytes);
    ASSERT_THAT(memory, IsOk());
    EXPECT_EQ(memory->size(), bytes);
    EXPECT_EQ(memory->bytes().size(), bytes);
    EXPECT_EQ(memory->device(), device);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory->data()) % 256, 0U);
    EXPECT_THAT(find_memory(memory->data() + bytes - 1),
                IsOkAndHolds(MemoryPlace{MemoryPlace::Kind::kDevice, device}));
    const auto pattern = rng.bytes(bytes);
    test::write_device(memory->data(), pattern);
    EXPECT_EQ(test::read_device(memory->data(), bytes), pattern);
  }
}

TEST_F(DeviceMemoryTest, NothingTooMuchAndNoDeviceAreRefused) {
  EXPECT_THAT(DeviceMemory::create(0, 0), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(DeviceMemory::create(99, 1), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(DeviceMemory::create(0, size_t{1} << 50),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("1125899906842624 bytes")));
}

TEST_F(DeviceMemoryTest, Moves) {
  test::expect_moves(DeviceMemory::create(0, 1000).value(),
                     DeviceMemory::create(num_devices() - 1, 2000).value(),
                     [](const DeviceMemory& memory) -> const void* { return memory.data(); });
}

}  // namespace
}  // namespace kvferry
