#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "kvferry/cache_config.h"

namespace kvferry {

/// Where a configuration comes from: each overrides those before it.
struct ConfigSources {
  /// Empty: KVFERRY_CONFIG_FILE, else LMCACHE_CONFIG_FILE of `environment`, else no file.
  std::string path;
  std::map<std::string, std::string>
      environment;                 ///< KVFERRY_* and LMCACHE_*; the rest is not read
  std::vector<std::string> flags;  ///< KEY=VALUE each
};

/// Something to say about one place of a configuration.
struct ConfigNotice {
  std::string where;  ///< FILE:LINE, FILE, a variable of the environment, or --set KEY
  std::string text;

  std::string line() const { return where.empty() ? text : where + ": " + text; }
};

/// A key, the value that counts, and where that came from ("default", or as in ConfigNotice).
struct ConfigValue {
  std::string key;
  std::string value;  ///< secrets as ***
  std::string where;
};

struct LoadedConfig {
  std::string path;  ///< of the file that was read; empty: none
  CacheConfig config;
  std::vector<ConfigNotice> warnings;
  std::vector<ConfigValue> effective;  ///< all keys, in the order of the schema
};

/// All that is wrong, not only the first of it.
struct ConfigErrors {
  std::vector<ConfigNotice> errors;
  std::vector<ConfigNotice> warnings;

  /// kInvalidArgument with a line for each error.
  Status to_status() const;
};

/// Reads, checks and merges. A key that LMCache has and kvferry does not is a warning; a key that
/// nobody has is an error.
tl::expected<LoadedConfig, ConfigErrors> load_config(const ConfigSources& sources);

/// KVFERRY_* and LMCACHE_* of this process.
std::map<std::string, std::string> config_environment();

}  // namespace kvferry
