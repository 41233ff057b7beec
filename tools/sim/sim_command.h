#pragma once

#include <optional>
#include <string>

namespace kvferry {

/// As typed; nothing where a flag was not given.
struct SimFlags {
  std::optional<std::string> seeds;
  std::optional<std::string> first_seed;
  std::optional<std::string> jobs;
  std::optional<std::string> json;
  bool show_log = false;  ///< of the first seed, whatever comes of it
};

/// `kvferry sim`: runs seeds of the simulation, replays some of them, and says what broke.
///
/// Returns the exit code: 0 when no seed failed and every replay was equal, 2 when the JSON cannot
/// be written and nothing ran.
int run_sim(const SimFlags& flags);

}  // namespace kvferry
