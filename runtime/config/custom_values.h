#pragma once

#include <string>
#include <vector>

#include "kvferry/cache_config.h"
#include "kvferry/status.h"
#include "runtime/config/schema.h"

namespace kvferry {

// Values with rules of their own: what config_schema() names. A null sets the default. Values with
// secrets are not repeated in what is said about them.

Verdict set_local_disk(CacheConfig& config, const YamlNode& node);
std::string show_local_disk(const CacheConfig& config);
Verdict set_remote_url(CacheConfig& config, const YamlNode& node);
std::string show_remote_url(const CacheConfig& config);
Verdict set_remote_serde(CacheConfig& config, const YamlNode& node);
std::string show_remote_serde(const CacheConfig& config);
Verdict set_hash_algorithm(CacheConfig& config, const YamlNode& node);
std::string show_hash_algorithm(const CacheConfig& config);
Verdict set_plugin_path(CacheConfig& config, const YamlNode& node);
std::string show_plugin_path(const CacheConfig& config);
Verdict set_peer_listen(CacheConfig& config, const YamlNode& node);
std::string show_peer_listen(const CacheConfig& config);
Verdict set_peers(CacheConfig& config, const YamlNode& node);
std::string show_peers(const CacheConfig& config);

// Shape only: external_backends.h makes backends of them.
Verdict set_backend_names(CacheConfig& config, const YamlNode& node);
Verdict set_extra_config(CacheConfig& config, const YamlNode& node);

/// Texts of a list, or of a text that `separator` divides; without blanks around them, none empty.
/// Errors: kInvalidArgument saying what such a value looks like.
Result<std::vector<std::string>> read_list(const YamlNode& node, char separator);

/// True, False and what else YAML 1.1 takes for them, in any case; 1 and 0. Errors:
/// kInvalidArgument.
Result<bool> read_bool(const YamlNode& node);

}  // namespace kvferry
