#include "workload/simulation/simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvferry {
namespace {

using ::testing::IsEmpty;

TEST(Simulation, EverySeedComesToRestWithNoWrongByteAndAllMemoryBack) {
  uint64_t faults = 0;
  int64_t verified = 0;
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    const SimulationResult result = run_simulation({.seed = seed});
    EXPECT_THAT(result.violations, IsEmpty()) << "seed " << seed;
    faults += result.faults;
    verified += result.chunks_verified;
  }
  EXPECT_GT(faults, 20'000U) << "it must attack";
  EXPECT_GT(verified, 10'000) << "and leave something to attack";
}

TEST(Simulation, ASeedReplaysLineByLine) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const SimulationResult first = run_simulation({.seed = seed, .keep_log = true});
    const SimulationResult again = run_simulation({.seed = seed, .keep_log = true});
    const SimulationResult unlogged = run_simulation({.seed = seed});
    EXPECT_FALSE(first.log.empty());
    EXPECT_EQ(first.log, again.log) << "seed " << seed;
    EXPECT_EQ(first.fingerprint, unlogged.fingerprint) << "logging changes nothing";
  }
}

TEST(Simulation, SeedsDiffer) {
  EXPECT_NE(run_simulation({.seed = 1}).fingerprint, run_simulation({.seed = 2}).fingerprint);
}

}  // namespace
}  // namespace kvferry
