#include "cuda/cuda_device_guard.h"

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <type_traits>

#include "tests/support/cuda_test.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

static_assert(!std::is_move_constructible_v<CudaDeviceGuard>);
static_assert(!std::is_copy_constructible_v<CudaDeviceGuard>);

class CudaDeviceGuardTest : public test::CudaTest {};

int current_device() {
  int device = -1;
  EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
  return device;
}

TEST_F(CudaDeviceGuardTest, GoesBackAtTheEndOfItsScope) {
  if (num_devices() < 2) GTEST_SKIP() << "needs two CUDA devices";
  ASSERT_EQ(current_device(), 0);
  {
    const CudaDeviceGuard outer(1);
    EXPECT_THAT(outer.status(), IsOk());
    EXPECT_EQ(current_device(), 1);
    {
      const CudaDeviceGuard inner(0);
      EXPECT_THAT(inner.status(), IsOk());
      EXPECT_EQ(current_device(), 0);
    }
    EXPECT_EQ(current_device(), 1);
  }
  EXPECT_EQ(current_device(), 0);
}

TEST_F(CudaDeviceGuardTest, TakesTheDeviceOfAStream) {
  const int32_t device = num_devices() - 1;
  const auto stream = CudaStream::create(device);
  ASSERT_THAT(stream, IsOk());
  EXPECT_EQ(current_device(), 0);
  const CudaDeviceGuard guard(stream->view());
  EXPECT_THAT(guard.status(), IsOk());
  EXPECT_EQ(current_device(), device);
}

TEST_F(CudaDeviceGuardTest, SaysThatThereIsNoSuchDevice) {
  for (const int32_t device : {99, -1}) {
    const CudaDeviceGuard guard(device);
    EXPECT_THAT(guard.status(),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(std::to_string(device))));
    EXPECT_EQ(current_device(), 0);
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
  }
}

TEST_F(CudaDeviceGuardTest, RefusesTheViewOfNoStream) {
  CUstream_st* const none = nullptr;
  const CudaDeviceGuard guard(CudaStreamView(none, 0));
  EXPECT_THAT(guard.status(), StatusIs(StatusCode::kInvalidArgument, HasSubstr("default")));
}

}  // namespace
}  // namespace kvferry
