#include "runtime/config/load_config.h"

#include <algorithm>

#include "core/printable.h"
#include "runtime/config/config_rules.h"
#include "runtime/config/config_settings.h"
#include "runtime/config/external_backends.h"
#include "runtime/config/schema.h"
#include "runtime/config/values.h"

namespace kvferry {
namespace {

constexpr size_t kMaxNotices = 100;

std::string find_path(const ConfigSources& sources, ConfigFindings& findings) {
  if (!sources.path.empty()) return sources.path;
  for (const char* variable : {"KVFERRY_CONFIG_FILE", "LMCACHE_CONFIG_FILE"}) {
    const auto found = sources.environment.find(variable);
    if (found == sources.environment.end() || found->second.empty()) continue;
    if (found->first == "LMCACHE_CONFIG_FILE") {
      findings.warn(found->first,
                    "names the file; kvferry's own name for it is "
                    "KVFERRY_CONFIG_FILE, and overrides it");
    }
    return found->second;
  }
  return "";
}

/// Each key once, at its first place, with its last value.
std::vector<ConfigSetting> effective_settings(const std::vector<ConfigSetting>& all) {
  std::vector<ConfigSetting> winners;
  std::map<std::string_view, size_t> places;
  for (const ConfigSetting& setting : all) {
    const auto [place, is_new] = places.try_emplace(setting.key, winners.size());
    if (is_new) {
      winners.push_back(setting);
    } else {
      winners[place->second] = setting;
    }
  }
  return winners;
}

const ConfigSetting* find_setting(const std::vector<ConfigSetting>& settings,
                                  std::string_view key) {
  const auto found = std::ranges::find(settings, key, &ConfigSetting::key);
  return found == settings.end() ? nullptr : &*found;
}

/// Every value of every source, also of those that another one overrides.
void check_values(const std::vector<ConfigSetting>& settings, ConfigFindings& findings) {
  for (const ConfigSetting& setting : settings) {
    const KeySpec* spec = find_key(setting.key);
    if (spec == nullptr) continue;  // an entry of extra_config
    CacheConfig scratch;
    const Verdict verdict = apply_value(*spec, setting.value, scratch);
    const std::string start = "key '" + setting.key + "': ";
    if (!verdict.error.empty()) findings.fail(setting.where, start + verdict.error);
    if (!verdict.warning.empty()) findings.warn(setting.where, start + verdict.warning);
  }
}

std::vector<ConfigValue> effective_values(const CacheConfig& config,
                                          const std::vector<ConfigSetting>& settings) {
  std::vector<ConfigValue> values;
  for (const KeySpec& spec : config_schema()) {
    const ConfigSetting* setting = find_setting(settings, spec.name);
    const auto* custom = std::get_if<CustomField>(&spec.field);
    const bool is_raw = custom != nullptr && custom->show == nullptr;
    std::string value = !is_raw              ? show_value(spec, config)
                        : setting != nullptr ? yaml_text(setting->value)
                                             : "";
    values.push_back({std::string(spec.name), std::move(value),
                      setting == nullptr ? "default" : setting->where});
  }
  for (const ConfigSetting& setting : settings) {
    if (!setting.key.starts_with(kExtraPrefix)) continue;
    values.push_back({setting.key, setting_text(setting.key, setting.value), setting.where});
  }
  return values;
}

void cut(std::vector<ConfigNotice>& notices) {
  if (notices.size() <= kMaxNotices) return;
  const size_t more = notices.size() - kMaxNotices;
  notices.resize(kMaxNotices);
  notices.push_back({"", "and " + std::to_string(more) + " more"});
}

}  // namespace

Status ConfigErrors::to_status() const {
  std::string text;
  for (const ConfigNotice& error : errors) text += (text.empty() ? "" : "\n") + error.line();
  return {StatusCode::kInvalidArgument, std::move(text)};
}

tl::expected<LoadedConfig, ConfigErrors> load_config(const ConfigSources& sources) {
  ConfigFindings findings;
  LoadedConfig loaded;
  loaded.path = find_path(sources, findings);
  if (!loaded.path.empty()) read_config_file(loaded.path, findings);
  read_config_environment(sources.environment, findings);
  read_config_flags(sources.flags, findings);
  check_values(findings.settings, findings);

  if (findings.errors.empty()) {
    const std::vector<ConfigSetting> settings = effective_settings(findings.settings);
    for (const KeySpec& spec : config_schema()) {
      const ConfigSetting* setting = find_setting(settings, spec.name);
      if (setting != nullptr) apply_value(spec, setting->value, loaded.config);
    }
    loaded.config.external_backends = make_external_backends(settings, findings);
    const auto where = [&](std::string_view key) {
      const ConfigSetting* setting = find_setting(settings, key);
      return setting == nullptr ? std::string() : setting->where;
    };
    check_config_rules(loaded.config, where, findings);
    loaded.effective = effective_values(loaded.config, settings);
  }
  cut(findings.errors);
  cut(findings.warnings);
  if (!findings.errors.empty()) {
    return tl::unexpected(ConfigErrors{std::move(findings.errors), std::move(findings.warnings)});
  }
  loaded.warnings = std::move(findings.warnings);
  return loaded;
}

}  // namespace kvferry
