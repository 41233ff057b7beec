#include "cuda/host_registration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdio>

#include "cuda/host/host_memory.h"
#include "cuda/memory_query.h"
#include "tests/cuda/owner_moves.h"
#include "tests/support/cuda_test.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr size_t kBytes = size_t{1} << 20;

class HostRegistrationTest : public test::CudaTest {
 protected:
  static MemoryPlace::Kind kind_of(const std::byte* address) {
    const auto place = find_memory(address);
    EXPECT_THAT(place, IsOk());
    return place->kind;
  }

  HostBuffer host = HostBuffer::create(2 * kBytes).value();
};

TEST_F(HostRegistrationTest, PinsMemoryForAsLongAsItLives) {
  EXPECT_EQ(kind_of(host.data()), MemoryPlace::Kind::kPageableHost);
  {
    const auto registration = HostRegistration::create(host.bytes());
    ASSERT_THAT(registration, IsOk());
    EXPECT_EQ(registration->bytes().data(), host.data());
    EXPECT_EQ(registration->bytes().size(), host.size());
    EXPECT_EQ(kind_of(host.data() + host.size() - 1), MemoryPlace::Kind::kPinnedHost);
  }
  EXPECT_EQ(kind_of(host.data()), MemoryPlace::Kind::kPageableHost);
  EXPECT_THAT(HostRegistration::create(host.bytes()), IsOk());
}

TEST_F(HostRegistrationTest, RefusesWhatIsRegistered) {
  const auto registration = HostRegistration::create(host.bytes());
  ASSERT_THAT(registration, IsOk());
  char range[64];
  std::snprintf(range, sizeof(range), "%zu bytes at 0x%" PRIxPTR, host.size(),
                reinterpret_cast<uintptr_t>(host.data()));
  EXPECT_THAT(
      HostRegistration::create(host.bytes()),
      StatusIs(StatusCode::kAlreadyExists, AllOf(HasSubstr(range), HasSubstr("unregister"))));
  EXPECT_THAT(HostRegistration::create(host.bytes().subspan(kBytes / 2, kBytes)),
              StatusIs(StatusCode::kAlreadyExists));
}

TEST_F(HostRegistrationTest, RefusesNothing) {
  EXPECT_THAT(HostRegistration::create({}), StatusIs(StatusCode::kInvalidArgument));
}

TEST_F(HostRegistrationTest, Moves) {
  test::expect_moves(HostRegistration::create(host.bytes().first(kBytes)).value(),
                     HostRegistration::create(host.bytes().last(kBytes)).value(),
                     [](const HostRegistration& registration) -> const void* {
                       return registration.bytes().data();
                     });
}

}  // namespace
}  // namespace kvferry
