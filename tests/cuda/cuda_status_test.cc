#include "cuda/cuda_status.h"

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/cuda_test.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class CudaStatusTest : public test::CudaTest {};

TEST_F(CudaStatusTest, CodesSayWhatTheCallerCanDo) {
  EXPECT_THAT(cuda_status(cudaSuccess, "nothing"), IsOk());
  const std::pair<int, StatusCode> codes[] = {
      {cudaErrorNoDevice, StatusCode::kNotFound},
      {cudaErrorInsufficientDriver, StatusCode::kNotFound},
      {cudaErrorIllegalAddress, StatusCode::kDeviceLost},
      {cudaErrorMisalignedAddress, StatusCode::kDeviceLost},
      {cudaErrorLaunchFailure, StatusCode::kDeviceLost},
      {cudaErrorAssert, StatusCode::kDeviceLost},
      {cudaErrorECCUncorrectable, StatusCode::kDeviceLost},
      {cudaErrorContained, StatusCode::kDeviceLost},
      {cudaErrorMemoryAllocation, StatusCode::kResourceExhausted},
      {cudaErrorInvalidValue, StatusCode::kInvalidArgument},
      {cudaErrorInvalidDevice, StatusCode::kInvalidArgument},
      {cudaErrorHostMemoryAlreadyRegistered, StatusCode::kAlreadyExists},
      {cudaErrorNotReady, StatusCode::kFailedPrecondition},
      {cudaErrorDeviceUninitialized, StatusCode::kFailedPrecondition},
      {cudaErrorNotSupported, StatusCode::kUnimplemented},
      {cudaErrorNotPermitted, StatusCode::kPermissionDenied},
      {cudaErrorMapBufferObjectFailed, StatusCode::kUnavailable},
      {cudaErrorUnknown, StatusCode::kInternal},
      {123456, StatusCode::kInternal},  // of a newer runtime
  };
  for (const auto& [error, code] : codes) {
    const Status status = cuda_status(error, "an operation");
    EXPECT_THAT(status, StatusIs(code, StartsWith("an operation: ")));
    EXPECT_EQ(status.domain(), ErrorDomain::kCuda);
    EXPECT_EQ(status.native_code(), error);
  }
}

TEST_F(CudaStatusTest, MessageNamesTheError) {
  EXPECT_THAT(cuda_status(cudaErrorInvalidValue, "an operation").message(),
              AllOf(HasSubstr("cudaErrorInvalidValue"), HasSubstr("invalid argument")));
}

TEST_F(CudaStatusTest, LeavesNoErrorInTheThread) {
  const cudaError_t error = cudaSetDevice(99);
  ASSERT_EQ(error, cudaErrorInvalidDevice);
  ASSERT_EQ(cudaPeekAtLastError(), error);
  EXPECT_THAT(cuda_status(error, "an operation"), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
  drop_cuda_error(cudaSetDevice(99));
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
}

}  // namespace
}  // namespace kvferry
