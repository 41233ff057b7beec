// The configuration of this process: the one place that reads its environment for it.

#include <unistd.h>

#include <string_view>

#include "kvferry/cache_config.h"
#include "runtime/config/load_config.h"

namespace kvferry {

std::map<std::string, std::string> config_environment() {
  std::map<std::string, std::string> found;
  for (char** each = environ; each != nullptr && *each != nullptr; ++each) {
    const std::string_view text(*each);
    const size_t sign = text.find('=');
    if (sign == std::string_view::npos) continue;
    if (!text.starts_with("KVFERRY_") && !text.starts_with("LMCACHE_")) continue;
    found.insert_or_assign(std::string(text.substr(0, sign)), std::string(text.substr(sign + 1)));
  }
  return found;
}

Result<CacheConfig> load_cache_config(const std::string& path, Logger* logger) {
  auto loaded = load_config({.path = path, .environment = config_environment(), .flags = {}});
  const std::vector<ConfigNotice>& warnings = loaded ? loaded->warnings : loaded.error().warnings;
  for (const ConfigNotice& warning : warnings) {
    if (logger != nullptr) {
      logger->log(LogLevel::kWarn,
                  "config_warning at=" + warning.where + " what=\"" + warning.text + "\"");
    }
  }
  if (!loaded) return make_error(loaded.error().to_status());
  return std::move(loaded)->config;
}

}  // namespace kvferry
