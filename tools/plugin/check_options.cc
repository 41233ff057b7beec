#include "tools/plugin/check_options.h"

#include <utility>

#include "backends/external/plugin_library.h"
#include "runtime/config/load_config.h"
#include "runtime/plugin_folder.h"
#include "tools/flag_values.h"

namespace kvferry {
namespace {

constexpr uint64_t kMaxCaseSeconds = 86400;

Result<CacheConfig> load(const std::optional<std::string>& path) {
  ConfigSources sources;
  sources.environment = config_environment();
  if (path.has_value()) {
    sources.path = *path;
  } else {  // another file than a --config is none of our business
    sources.environment.erase("KVFERRY_CONFIG_FILE");
    sources.environment.erase("LMCACHE_CONFIG_FILE");
  }
  auto loaded = load_config(sources);
  if (!loaded) return make_error(loaded.error().to_status());
  return std::move(loaded->config);
}

Status add_setting(const std::string& text, ConfigSection& settings) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    return Status(StatusCode::kInvalidArgument, "--set '" + text + "' is not KEY=VALUE");
  }
  settings[text.substr(0, equals)] = text.substr(equals + 1);
  return {};
}

}  // namespace

Result<CheckOptions> make_check_options(const PluginCheckFlags& flags) {
  KVFERRY_ASSIGN_OR_RETURN(const CacheConfig config, load(flags.config));
  CheckOptions options;
  ExternalOptions& external = options.external;
  external.limits.timeout = config.plugins.call_timeout;
  external.limits.close_timeout = config.plugins.call_timeout;
  if (flags.config.has_value()) {
    if (config.external_backends.empty()) {
      return make_error(StatusCode::kInvalidArgument,
                        *flags.config + " names no external_backends");
    }
    external.class_name = config.external_backends.front().class_name;
    external.settings = config.external_backends.front().settings;
  }
  if (flags.class_name.has_value()) external.class_name = *flags.class_name;
  for (const std::string& setting : flags.settings) {
    KVFERRY_RETURN_IF_ERROR(add_setting(setting, external.settings));
  }
  int64_t seconds = options.case_limit.count();
  KVFERRY_RETURN_IF_ERROR(read_number("--timeout", flags.timeout, 1, kMaxCaseSeconds, seconds));
  options.case_limit = std::chrono::seconds(seconds);
  external.search_path = plugin_search_path(config.plugins);
  KVFERRY_ASSIGN_OR_RETURN(external.module_path,
                           find_plugin_library(flags.library, external.search_path));
  return options;
}

}  // namespace kvferry
