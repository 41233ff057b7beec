#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvferry {

/// What a log line of a violation has in it.
inline constexpr std::string_view kViolationMark = "VIOLATION: ";

struct SimulationOptions {
  uint64_t seed = 1;
  bool keep_log = false;
};

struct SimulationResult {
  uint64_t seed = 0;
  std::vector<std::string> violations;  ///< empty: the seed passed
  uint64_t faults = 0;                  ///< injected
  uint64_t fingerprint = 0;             ///< equal for equal runs
  int64_t fetches = 0;
  int64_t chunks_verified = 0;
  int64_t chunks_failed = 0;
  double simulated_seconds = 0;
  std::vector<std::string> log;  ///< with keep_log: what happened, line by line
};

/// One run of several engines and peers in one process, on a virtual clock, with everything drawn
/// from the seed: who fetches what, what the network does to it, and who is stopped, killed and
/// started again. Then the network heals, and everything must come to rest.
///
/// A run fails when bytes are touched by one who holds no lease on them, when a published chunk has
/// a wrong byte, when a transfer ends twice or never, or when memory is not back in the end.
///
/// Threads: any; runs of different seeds side by side share nothing
SimulationResult run_simulation(const SimulationOptions& options);

}  // namespace kvferry
