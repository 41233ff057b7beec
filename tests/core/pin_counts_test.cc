#include "kvferry/pin_counts.h"

#include <gtest/gtest.h>

namespace kvferry {
namespace {

TEST(PinCounts, ASurplusUnpinReleasesNobodyElsesPin) {
  PinCounts pins;
  pins.pin(1);
  pins.pin(1);
  pins.pin(2);
  EXPECT_TRUE(pins.unpin(1));
  EXPECT_TRUE(pins.unpin(1));
  EXPECT_FALSE(pins.unpin(1));
  EXPECT_FALSE(pins.unpin(3));
  EXPECT_TRUE(pins.is_pinned());
  EXPECT_TRUE(pins.unpin(2));
  EXPECT_FALSE(pins.is_pinned());
}

}  // namespace
}  // namespace kvferry
