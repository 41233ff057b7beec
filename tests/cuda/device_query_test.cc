#include "cuda/device_query.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

TEST(DeviceQuery, ReportsDevicesOrSaysWhyThereAreNone) {
  const auto devices = query_cuda_devices();
  if (devices) {
    ASSERT_FALSE(devices->empty());
    EXPECT_FALSE(devices->front().name.empty());
    EXPECT_GT(devices->front().memory_bytes, 0U);
    return;
  }
  EXPECT_EQ(std::getenv("KVFERRY_REQUIRE_GPU"), nullptr) << devices.error().to_string();
  EXPECT_FALSE(devices.error().message().empty());
#if KVFERRY_HAVE_CUDA
  EXPECT_THAT(devices, StatusIs(StatusCode::kNotFound));
#else
  EXPECT_THAT(devices, StatusIs(StatusCode::kUnimplemented));
#endif
}

TEST(DeviceQuery, SaysTheSameTwice) {
  const auto first = query_cuda_devices();
  const auto second = query_cuda_devices();
  ASSERT_EQ(first.has_value(), second.has_value());
  if (!first) {
    EXPECT_EQ(first.error().message(), second.error().message());
  }
}

}  // namespace
}  // namespace kvferry
