// Builds without CUDA: what the device's owners say there.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "cuda/device_memory.h"
#include "cuda/device_query.h"
#include "cuda/host_registration.h"
#include "cuda/memory_query.h"
#include "cuda/pinned_memory.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

TEST(CudaAbsent, EverythingSaysHowToBuildWithCuda) {
  std::array<std::byte, 8> host{};
  const auto is_absent = [](const auto& result) {
    EXPECT_THAT(result, StatusIs(StatusCode::kUnimplemented, HasSubstr("KVFERRY_CUDA=ON")));
  };
  is_absent(query_cuda_devices());
  is_absent(find_memory(host.data()));
  is_absent(DeviceMemory::create(0, 8));
  is_absent(PinnedMemory::create(8));
  is_absent(HostRegistration::create(host));
}

}  // namespace
}  // namespace kvferry
