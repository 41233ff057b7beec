#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace kvferry {

struct SimOptions {
  uint64_t seeds = 500;
  uint64_t first_seed = 1;
  int jobs = 0;  ///< seeds side by side; 0: one a core
  std::optional<std::string> json_path;
  bool show_log = false;  ///< of the first seed, whatever comes of it
};

/// `kvferry sim`: runs seeds of the simulation, replays some of them, and says what broke.
///
/// Returns the exit code: 0 when no seed failed and every replay was equal, 2 when the JSON cannot
/// be written and nothing ran.
int run_sim(const SimOptions& options);

}  // namespace kvferry
