#include "cuda/cuda_event.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cuda/device_copy.h"
#include "cuda/device_memory.h"
#include "cuda/pinned_memory.h"
#include "tests/cuda/owner_moves.h"
#include "tests/cuda/stream_gate.h"
#include "tests/support/cuda_test.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::HasSubstr;

class CudaEventTest : public test::CudaTest {
 protected:
  // What a stream of `second_device` reads behind an event of device 0 is what device 0's wrote.
  static void expect_order(int32_t second_device, bool as_foreign) {
    constexpr size_t kBytes = size_t{1} << 20;
    const PinnedMemory from = PinnedMemory::create(kBytes).value();
    const PinnedMemory to = PinnedMemory::create(kBytes).value();
    std::ranges::fill(from.bytes(), std::byte{1});
    std::ranges::fill(to.bytes(), std::byte{2});
    const DeviceMemory device = DeviceMemory::create(0, kBytes).value();
    const CudaStream first = CudaStream::create(0).value();
    const CudaStream second = CudaStream::create(second_device).value();
    CudaEvent written = CudaEvent::create(0).value();
    test::StreamGate gate(first.view());
    ASSERT_THAT(copy_async(device.data(), from.data(), kBytes, first.view()), IsOk());
    ASSERT_THAT(written.record(first.view()), IsOk());
    ASSERT_THAT(
        as_foreign ? enqueue_wait(second.view(), written.get()) : second.view().wait_for(written),
        IsOk());
    ASSERT_THAT(copy_async(to.data(), device.data(), kBytes, second.view()), IsOk());
    EXPECT_THAT(second.view().is_idle(), IsOkAndHolds(false));
    gate.open();
    ASSERT_THAT(second.view().synchronize(), IsOk());
    EXPECT_THAT(to.bytes(), Each(std::byte{1}));
  }
};

TEST_F(CudaEventTest, IsDoneWhenTheStreamHasComeToIt) {
  const CudaStream stream = CudaStream::create(0).value();
  CudaEvent event = CudaEvent::create(0).value();
  EXPECT_THAT(event.is_done(), IsOkAndHolds(true));  // marks nothing yet
  test::StreamGate gate(stream.view());
  ASSERT_THAT(event.record(stream.view()), IsOk());
  EXPECT_THAT(event.is_done(), IsOkAndHolds(false));
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
  gate.open();
  EXPECT_THAT(event.synchronize(), IsOk());
  EXPECT_THAT(event.is_done(), IsOkAndHolds(true));
}

TEST_F(CudaEventTest, OrdersTwoStreams) {
  expect_order(0, false);
  expect_order(0, true);
}

TEST_F(CudaEventTest, OrdersStreamsOfTwoDevices) {
  if (num_devices() < 2) GTEST_SKIP() << "needs two CUDA devices";
  expect_order(1, false);
  expect_order(1, true);
}

TEST_F(CudaEventTest, StreamsThatWaitGoOnWhenItIsDestroyed) {
  const CudaStream first = CudaStream::create(0).value();
  const CudaStream second = CudaStream::create(0).value();
  test::StreamGate gate(first.view());
  {
    CudaEvent event = CudaEvent::create(0).value();
    ASSERT_THAT(event.record(first.view()), IsOk());
    ASSERT_THAT(second.view().wait_for(event), IsOk());
  }
  EXPECT_THAT(second.view().is_idle(), IsOkAndHolds(false));
  gate.open();
  EXPECT_THAT(second.view().synchronize(), IsOk());
}

TEST_F(CudaEventTest, MeasuresTime) {
  const CudaStream stream = CudaStream::create(0).value();
  CudaEvent begin = CudaEvent::create(0, CudaEventTiming::kOn).value();
  CudaEvent end = CudaEvent::create(0, CudaEventTiming::kOn).value();
  ASSERT_THAT(begin.record(stream.view()), IsOk());
  {
    test::StreamGate gate(stream.view());
    ASSERT_THAT(end.record(stream.view()), IsOk());
    EXPECT_THAT(elapsed_ms(begin, end), StatusIs(StatusCode::kFailedPrecondition));
  }
  EXPECT_THAT(elapsed_ms(begin, end), IsOkAndHolds(Ge(0.0F)));
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
}

TEST_F(CudaEventTest, CannotMeasureWithoutTimingOrMark) {
  const CudaStream stream = CudaStream::create(0).value();
  CudaEvent timed = CudaEvent::create(0, CudaEventTiming::kOn).value();
  CudaEvent untimed = CudaEvent::create(0).value();
  ASSERT_THAT(untimed.record(stream.view()), IsOk());
  EXPECT_THAT(elapsed_ms(timed, timed), StatusIs(StatusCode::kInvalidArgument));
  ASSERT_THAT(timed.record(stream.view()), IsOk());
  ASSERT_THAT(stream.view().synchronize(), IsOk());
  EXPECT_THAT(elapsed_ms(timed, untimed), StatusIs(StatusCode::kInvalidArgument));
}

TEST_F(CudaEventTest, NeedsAStreamOfItsDevice) {
  EXPECT_THAT(CudaEvent::create(99), StatusIs(StatusCode::kInvalidArgument));
  const CudaStream stream = CudaStream::create(0).value();
  EXPECT_THAT(enqueue_wait(stream.view(), nullptr), StatusIs(StatusCode::kInvalidArgument));
  if (num_devices() < 2) GTEST_SKIP() << "needs two CUDA devices";
  CudaEvent event = CudaEvent::create(1).value();
  EXPECT_THAT(event.record(stream.view()),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("event of device 1"), HasSubstr("stream of device 0"))));
}

TEST_F(CudaEventTest, Moves) {
  test::expect_moves(CudaEvent::create(0).value(), CudaEvent::create(num_devices() - 1).value(),
                     [](const CudaEvent& event) -> const void* { return event.get(); });
}

}  // namespace
}  // namespace kvferry
