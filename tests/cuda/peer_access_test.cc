#include "cuda/peer_access.h"

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/cuda_test.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

class PeerAccessTest : public test::CudaTest {};

TEST_F(PeerAccessTest, IsEnabledOnceOrSaysWhatToDo) {
  if (num_devices() < 2) GTEST_SKIP() << "needs two CUDA devices";
  const auto can = can_access_peer(0, 1);
  ASSERT_THAT(can, IsOk());
  if (*can) {
    EXPECT_THAT(enable_peer_access(0, 1), IsOk());
    EXPECT_THAT(enable_peer_access(0, 1), IsOk());
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
  } else {
    EXPECT_THAT(enable_peer_access(0, 1),
                StatusIs(StatusCode::kFailedPrecondition, HasSubstr("through host memory")));
  }
}

TEST_F(PeerAccessTest, ADeviceReachesItself) {
  EXPECT_THAT(can_access_peer(0, 0), IsOkAndHolds(true));
  EXPECT_THAT(enable_peer_access(0, 0), IsOk());
}

TEST_F(PeerAccessTest, RefusesDevicesThatAreNone) {
  EXPECT_THAT(can_access_peer(0, 99), StatusIs(StatusCode::kInvalidArgument, HasSubstr("99")));
  EXPECT_THAT(can_access_peer(99, 99), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(enable_peer_access(0, 99), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(enable_peer_access(99, 0), StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace kvferry
