#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "runtime/config/load_config.h"

namespace kvferry {

/// What would be built from a configuration, for people: pool, tiers in their order, limits.
std::string built_text(const CacheConfig& config);

/// Every value and where it came from, in columns.
std::string effective_text(const LoadedConfig& loaded);

nlohmann::json config_json(const LoadedConfig& loaded);
nlohmann::json config_json(const ConfigErrors& errors);

/// Every key with type, unit, default and range: the tables of docs/config.md.
std::string schema_text();
nlohmann::json schema_json();

}  // namespace kvferry
