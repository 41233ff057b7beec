#pragma once

#include <string>
#include <vector>

#include "kvferry/cache_config.h"

namespace kvferry {

/// lib/kvferry/plugins of the prefix that this kvferry lies in, wherever it was moved to: beside
/// libkvferry, or seen from the folder of the program that holds all of kvferry. It need not exist.
/// Empty if the system does not say where that is.
std::string installed_plugin_folder();

/// Where libraries of external backends are looked for: as configured, then there.
std::vector<std::string> plugin_search_path(const PluginConfig& config);

}  // namespace kvferry
