#include <gtest/gtest.h>

#include "workload/processes/subprocess.h"

namespace kvferry {
namespace {

TEST(ExternalProcess, EndsWithAHungPlugin) {
  Subprocess process({HUNG_PROCESS});
  EXPECT_EQ(process.wait(std::chrono::seconds(60)), 0);
  EXPECT_EQ(process.out(), "contains: deadline_exceeded\nclosed\n");
  EXPECT_EQ(process.err(), "");
}

}  // namespace
}  // namespace kvferry
