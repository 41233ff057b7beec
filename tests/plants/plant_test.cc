// Linked with one planted source in place of the library's: the simulation must fail.

#include <gtest/gtest.h>

#include <cstdio>

#include "workload/simulation/simulation.h"

namespace kvferry {
namespace {

constexpr uint64_t kMaxSeeds = 3000;

TEST(Plant, IsCaught) {
  for (uint64_t seed = 1; seed <= kMaxSeeds; ++seed) {
    const SimulationResult result = run_simulation({.seed = seed});
    if (result.violations.empty()) continue;
    std::printf("caught by seed %llu: %s\n", static_cast<unsigned long long>(seed),
                result.violations.front().c_str());
    return;
  }
  FAIL() << "not caught within " << kMaxSeeds << " seeds";
}

}  // namespace
}  // namespace kvferry
