#include "tests/support/cuda_test.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>

#include "cuda/cuda_stream.h"
#include "cuda/device_copy.h"
#include "cuda/device_query.h"
#include "cuda/memory_query.h"
#include "cuda/pinned_memory.h"
#include "tests/support/status_matchers.h"

namespace kvferry::test {
namespace {

void copy_and_wait(std::byte* to, const std::byte* from, size_t bytes, int32_t device) {
  auto stream = CudaStream::create(device);
  ASSERT_THAT(stream, IsOk());
  ASSERT_THAT(copy_async(to, from, bytes, stream->view()), IsOk());
  ASSERT_THAT(stream->view().synchronize(), IsOk());
}

int32_t device_of(const std::byte* address) {
  const auto place = find_memory(address);
  EXPECT_THAT(place, IsOk());
  return place ? place->device : 0;
}

}  // namespace

void CudaTest::SetUp() {
  begin_cuda(rng());
  const auto devices = query_cuda_devices();
  if (!devices) {
    ASSERT_EQ(std::getenv("KVFERRY_REQUIRE_GPU"), nullptr) << devices.error().to_string();
    GTEST_SKIP() << devices.error().message();
  }
  num_devices_ = static_cast<int32_t>(devices->size());
}

void CudaTest::TearDown() { EXPECT_THAT(end_cuda(), ::testing::IsEmpty()); }

std::vector<std::byte> read_device(const std::byte* from, size_t bytes) {
  auto pinned = PinnedMemory::create(bytes);
  EXPECT_THAT(pinned, IsOk());
  if (!pinned) return {};
  copy_and_wait(pinned->data(), from, bytes, device_of(from));
  return {pinned->data(), pinned->data() + bytes};
}

void write_device(std::byte* to, std::span<const std::byte> bytes) {
  auto pinned = PinnedMemory::create(bytes.size());
  ASSERT_THAT(pinned, IsOk());
  std::ranges::copy(bytes, pinned->data());
  copy_and_wait(to, pinned->data(), bytes.size(), device_of(to));
}

}  // namespace kvferry::test
