#include "runtime/telemetry/log_limit.h"

#include <gmock/gmock.h>

#include <optional>

#include "transports/sim/sim_world.h"

namespace kvferry {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr size_t kLines = LogLimit::kLines;

class LogLimitTest : public ::testing::Test {
 protected:
  void log(int times) {
    for (int i = 0; i < times; ++i) limit->log("line");
  }
  void pass(Duration time) {
    world.run_until([] { return false; }, world.now() + time);
  }

  SimWorld world{1};
  SimExecutor& executor = world.add_process("engine").add_executor();
  std::vector<std::string> lines;
  std::optional<LogLimit> limit{std::in_place, executor, "left_out",
                                [this](const std::string& line) { lines.push_back(line); }};
};

TEST_F(LogLimitTest, LetsAFewLinesThroughAndTellsOfTheRest) {
  log(1000);
  EXPECT_THAT(lines, SizeIs(kLines));
  pass(LogLimit::kWindow);
  ASSERT_THAT(lines, SizeIs(kLines + 1));
  EXPECT_EQ(lines.back(), "left_out count=980");
}

TEST_F(LogLimitTest, SaysNothingOfNothing) {
  log(kLines);
  pass(3 * LogLimit::kWindow);
  EXPECT_THAT(lines, SizeIs(kLines));
  log(1);
  EXPECT_EQ(lines.back(), "line");
}

TEST_F(LogLimitTest, EachWindowHasItsOwnLines) {
  for (size_t window = 1; window <= 3; ++window) {
    log(kLines + 1);
    pass(LogLimit::kWindow);
    EXPECT_THAT(lines, SizeIs(window * (kLines + 1)));
  }
}

TEST_F(LogLimitTest, MayEndBeforeItsWindow) {
  log(kLines + 1);
  limit.reset();
  pass(LogLimit::kWindow);
  EXPECT_THAT(lines, SizeIs(kLines));
}

}  // namespace
}  // namespace kvferry
