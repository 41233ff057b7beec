#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "kvferry/cache_config.h"
#include "runtime/config/config_settings.h"

namespace kvferry {

/// Where a key was set; empty if it was not.
using WhereSet = std::function<std::string(std::string_view key)>;

/// What does not go together although each value is right by itself.
void check_config_rules(const CacheConfig& config, const WhereSet& where, ConfigFindings& findings);

}  // namespace kvferry
