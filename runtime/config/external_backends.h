#pragma once

#include <vector>

#include "kvferry/cache_config.h"
#include "runtime/config/config_settings.h"

namespace kvferry {

/// The backends that external_backends and storage_plugins name, with their entries of
/// extra_config. `settings` holds each key once. What does not fit together becomes an error in
/// `findings`.
std::vector<ExternalBackendConfig> make_external_backends(
    const std::vector<ConfigSetting>& settings, ConfigFindings& findings);

/// Whether the value of a key is not to be shown: it is called a password, token, secret, ...
bool is_secret_key(std::string_view key);

}  // namespace kvferry
