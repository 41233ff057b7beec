#pragma once

#include <chrono>

#include "backends/external/factory.h"
#include "tools/plugin/plugin_command.h"

namespace kvferry {

/// What `kvferry plugin check` holds against the contract.
struct CheckOptions {
  ExternalOptions external;  ///< module_path is the file that was found
  std::chrono::seconds case_limit{120};
};

/// What the flags, and the configuration behind one of them, say. Loads nothing.
/// Errors: those of load_config() and find_plugin_library(); kInvalidArgument naming the flag.
Result<CheckOptions> make_check_options(const PluginCheckFlags& flags);

}  // namespace kvferry
