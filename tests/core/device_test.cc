#include "kvferry/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

TEST(Device, NamesAreReadBack) {
  for (const Device device : {Device::host(), Device::cuda(0), Device::cuda(15)}) {
    EXPECT_THAT(parse_device(device_name(device)), IsOkAndHolds(device)) << device_name(device);
  }
  EXPECT_EQ(device_name(Device::cuda(3)), "cuda:3");
}

TEST(Device, OtherTextIsRefusedWithTheFormsThatThereAre) {
  for (const char* text : {"", "cuda", "cuda:", "cuda:-1", "cuda:0x1", "cuda:1 ",
                           "cuda:99999999999", "gpu:0", "HOST"}) {
    EXPECT_THAT(parse_device(text),
                StatusIs(StatusCode::kInvalidArgument, ::testing::HasSubstr("cuda:0")))
        << text;
  }
}

}  // namespace
}  // namespace kvferry
