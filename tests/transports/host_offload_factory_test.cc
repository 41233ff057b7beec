// With the CUDA runtime that users get, or without one: most machines that build this have no GPU.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda/device_query.h"
#include "tests/support/status_matchers.h"
#include "transports/host_offload/factory.h"

namespace kvferry {
namespace {

TEST(HostOffloadFactory, SaysWhyThereIsNone) {
  const auto devices = query_cuda_devices();
  const auto transport = make_host_offload_transport(0);
  ASSERT_EQ(transport.has_value(), devices.has_value());
  if (transport) return;
#if KVFERRY_HAVE_CUDA
  EXPECT_THAT(transport, StatusIs(StatusCode::kNotFound));
#else
  EXPECT_THAT(transport, StatusIs(StatusCode::kUnimplemented));
#endif
  EXPECT_EQ(transport.error().message(), devices.error().message());
}

}  // namespace
}  // namespace kvferry
