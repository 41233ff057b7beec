#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/config/load_config.h"
#include "runtime/config/yaml_tree.h"

namespace kvferry {

/// Prefix of the entries of `extra_config`, each of which is a setting of its own.
constexpr std::string_view kExtraPrefix = "extra_config.";

/// One value that a source gave to a key that exists.
struct ConfigSetting {
  std::string key;
  YamlNode value;
  std::string where;
};

/// What came of the sources so far.
struct ConfigFindings {
  std::vector<ConfigSetting> settings;  ///< in the order of the sources; later ones count
  std::vector<ConfigNotice> errors;
  std::vector<ConfigNotice> warnings;

  void fail(std::string where, std::string text) {
    errors.push_back({std::move(where), std::move(text)});
  }
  void warn(std::string where, std::string text) {
    warnings.push_back({std::move(where), std::move(text)});
  }
};

// The three sources. Keys are checked here, values later.
void read_config_file(const std::string& path, ConfigFindings& findings);
void read_config_environment(const std::map<std::string, std::string>& environment,
                             ConfigFindings& findings);
void read_config_flags(const std::vector<std::string>& flags, ConfigFindings& findings);

}  // namespace kvferry
