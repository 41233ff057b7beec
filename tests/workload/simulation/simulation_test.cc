#include "workload/simulation/simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvferry {
namespace {

using ::testing::IsEmpty;

// A simulation is one thread; under a sanitizer few seeds show what it could see.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kSeeds = 40;
#else
constexpr uint64_t kSeeds = 500;
#endif

TEST(Simulation, EverySeedComesToRestWithNoWrongByteAndAllMemoryBack) {
  uint64_t faults = 0;
  int64_t verified = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const SimulationResult result = run_simulation({.seed = seed});
    EXPECT_THAT(result.violations, IsEmpty()) << "seed " << seed;
    faults += result.faults;
    verified += result.chunks_verified;
  }
  EXPECT_GT(faults, 40 * kSeeds) << "it must attack";
  EXPECT_GT(verified, static_cast<int64_t>(20 * kSeeds)) << "and leave something to attack";
}

TEST(Simulation, ASeedReplaysLineByLine) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
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
