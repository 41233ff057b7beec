#pragma once

#include <optional>
#include <string>
#include <vector>

namespace kvferry {

/// As they were typed.
struct ConfigCheckFlags {
  std::string file;               ///< empty: as the environment says, else none
  std::vector<std::string> sets;  ///< KEY=VALUE each
  bool show_effective = false;
  std::optional<std::string> json;
};

/// `kvferry config check`: prints what would be built, then the warnings; errors, one a line, to
/// stderr. Exit code 0; 2 if anything is wrong with the configuration or the flags; 1 when the
/// output cannot be written.
int run_config_check(const ConfigCheckFlags& flags);

/// `kvferry config schema`: prints every key as Markdown, and writes them to a file if there is
/// one. Exit codes as above.
int run_config_schema(const std::optional<std::string>& json_path);

}  // namespace kvferry
