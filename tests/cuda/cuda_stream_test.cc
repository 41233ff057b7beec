#include "cuda/cuda_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <type_traits>

#include "cuda/cuda_event.h"
#include "tests/cuda/owner_moves.h"
#include "tests/cuda/stream_gate.h"
#include "tests/support/cuda_test.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

static_assert(!std::is_constructible_v<CudaStreamView, std::nullptr_t, int32_t>);
static_assert(!std::is_constructible_v<CudaStreamView, int, int32_t>);
static_assert(!std::is_default_constructible_v<CudaStreamView>);

class CudaStreamTest : public test::CudaTest {};

TEST_F(CudaStreamTest, IsOfTheDeviceAndPriorityAskedFor) {
  for (int32_t device = 0; device < num_devices(); ++device) {
    for (const auto priority : {CudaStreamPriority::kNormal, CudaStreamPriority::kHigh}) {
      const auto stream = CudaStream::create(device, priority);
      ASSERT_THAT(stream, IsOk());
      EXPECT_NE(stream->view().get(), nullptr);
      EXPECT_EQ(stream->view().device(), device);
    }
  }
  EXPECT_THAT(CudaStream::create(99), StatusIs(StatusCode::kInvalidArgument));
}

TEST_F(CudaStreamTest, IsIdleOnceAllHasRun) {
  const CudaStream stream = CudaStream::create(0).value();
  EXPECT_THAT(stream.view().is_idle(), IsOkAndHolds(true));
  {
    test::StreamGate gate(stream.view());
    EXPECT_THAT(stream.view().is_idle(), IsOkAndHolds(false));
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
    gate.open();
    EXPECT_THAT(stream.view().synchronize(), IsOk());
  }
  EXPECT_THAT(stream.view().is_idle(), IsOkAndHolds(true));
}

TEST_F(CudaStreamTest, Moves) {
  test::expect_moves(CudaStream::create(0).value(), CudaStream::create(num_devices() - 1).value(),
                     [](const CudaStream& stream) -> const void* { return stream.view().get(); });
}

TEST_F(CudaStreamTest, NoStreamIsNotTheDefaultStream) {
  CUstream_st* const nothing = nullptr;  // what an owner moved from holds
  const CudaStreamView none(nothing, 0);
  CudaEvent event = CudaEvent::create(0).value();
  EXPECT_THAT(none.wait_for(event), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(none.is_idle(), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(none.synchronize(), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(event.record(none), StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace kvferry
