#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kvferry/cache_config.h"
#include "runtime/config/config_settings.h"

namespace kvferry {

/// The backends that external_backends and storage_plugins name, with their entries of
/// extra_config. `settings` holds each key once. What does not fit together becomes an error in
/// `findings`.
std::vector<ExternalBackendConfig> make_external_backends(
    const std::vector<ConfigSetting>& settings, ConfigFindings& findings);

/// The value of a backend's setting for people: *** where its key, or one inside it, is called a
/// password, token, secret, ..., and for the credentials of a URL.
std::string setting_text(std::string_view key, const YamlNode& value);

}  // namespace kvferry
