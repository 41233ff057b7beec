#include "perf/rounds.h"

#include <gmock/gmock.h>

namespace kvferry {
namespace {

using ::testing::ElementsAre;

TEST(Rounds, SpreadIsOfTheMiddle) {
  const Spread odd = spread_of({9, 1, 2});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.mad, 1);
  EXPECT_EQ(odd.low, 1);
  EXPECT_EQ(odd.high, 9);
  EXPECT_EQ(spread_of({4, 1, 2, 3}).median, 2.5);
}

TEST(Rounds, ContendersTakeTurnsAfterAWarmUp) {
  std::vector<int> order;
  const auto contender = [&order](int number) {
    return [&order, number] {
      order.push_back(number);
      return static_cast<double>(order.size());
    };
  };
  const auto spreads = run_in_rounds(2, {contender(1), contender(2)});
  EXPECT_THAT(order, ElementsAre(1, 2, 1, 2, 1, 2));
  ASSERT_EQ(spreads.size(), 2U);
  EXPECT_EQ(spreads[0].median, 4);  // its 3rd and 5th of all runs: the first does not count
}

}  // namespace
}  // namespace kvferry
