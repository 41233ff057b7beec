#include "runtime/config/external_backends.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include "core/printable.h"
#include "runtime/config/custom_values.h"
#include "runtime/config/nearest_name.h"

namespace kvferry {
namespace {

constexpr size_t kMaxEchoed = 96;
constexpr std::string_view kHidden = "***";
constexpr std::array<std::string_view, 2> kLists = {"external_backends", "storage_plugins"};
constexpr std::array<std::string_view, 2> kPrefixes = {"external_backend.", "storage_plugin."};
/// Spellings of the prefixes that would else be taken for something of LMCache's.
constexpr std::array<std::string_view, 2> kWrongPrefixes = {"external_backends.",
                                                            "storage_plugins."};

std::string quoted(std::string_view text) {
  return "'" + detail::printable(text, kMaxEchoed) + "'";
}

/// external_backend.NAME.KEY, taken apart.
struct BackendKey {
  std::string_view name;
  std::string_view key;
};
std::optional<BackendKey> split(std::string_view entry) {
  for (const std::string_view prefix : kPrefixes) {
    if (!entry.starts_with(prefix)) continue;
    entry.remove_prefix(prefix.size());
    const size_t dot = std::min(entry.find('.'), entry.size());
    return BackendKey{entry.substr(0, dot), entry.substr(std::min(dot + 1, entry.size()))};
  }
  return std::nullopt;
}

class Collector {
 public:
  explicit Collector(ConfigFindings& findings) : findings_(findings) {}

  void add_names(const ConfigSetting& list) {
    if (list.value.text.empty() && list.value.items.empty()) return;
    const auto names = read_list(list.value, ',');
    if (!names) return;  // said where the value was checked
    for (const std::string& name : *names) {
      if (const Place* twin = find(name)) {
        findings_.fail(list.where, "key '" + list.key + "': " + quoted(name) +
                                       " is listed already (" + twin->where + "); keep one");
        continue;
      }
      ExternalBackendConfig backend;
      backend.name = name;
      places_.push_back({std::move(backend), list.where, {}});
    }
  }

  void add_entry(const ConfigSetting& setting) {
    const std::string_view entry = std::string_view(setting.key).substr(kExtraPrefix.size());
    const auto parts = split(entry);
    if (!parts) return add_stranger(entry, setting.where);
    if (parts->name.empty() || parts->key.empty()) {
      return fail(setting, "must be external_backend.NAME.KEY");
    }
    Place* place = find(parts->name);
    if (place == nullptr) return fail_unlisted(setting, parts->name);
    if (setting.value.kind == YamlNode::Kind::kNull) return;
    const std::string key(parts->key);
    if (std::ranges::find(place->keys, key) != place->keys.end()) {
      return fail(setting, "is there under both prefixes; keep one");
    }
    place->keys.push_back(key);
    set(setting, key, place->backend);
  }

  std::vector<ExternalBackendConfig> finish() {
    std::vector<ExternalBackendConfig> backends;
    for (Place& place : places_) {
      if (!place.has_error && !has_nested_entries_) check_complete(place);
      backends.push_back(std::move(place.backend));
    }
    return backends;
  }

 private:
  struct Place {
    ExternalBackendConfig backend;
    std::string where;
    std::vector<std::string> keys;
    bool has_error = false;
  };

  Place* find(std::string_view name) {
    const auto found = std::ranges::find_if(
        places_, [&](const Place& place) { return place.backend.name == name; });
    return found == places_.end() ? nullptr : &*found;
  }
  void check_complete(const Place& place) {
    const ExternalBackendConfig& backend = place.backend;
    const std::string prefix = "extra_config.external_backend." + backend.name;
    if (backend.module_path.empty()) {
      findings_.fail(place.where, prefix + ".module_path is not set; set it, or take " +
                                      quoted(backend.name) + " from the list");
    } else if (backend.class_name.empty()) {
      findings_.fail(place.where, prefix +
                                      ".class_name is not set; set it to a class of the library, "
                                      "which 'kvferry plugin check LIBRARY' names");
    }
  }
  void fail(const ConfigSetting& setting, const std::string& text) {
    findings_.fail(setting.where, "key " + quoted(setting.key) + ": " + text);
  }
  void fail_unlisted(const ConfigSetting& setting, std::string_view name) {
    std::vector<std::string_view> names;
    for (const Place& place : places_) names.push_back(place.backend.name);
    const std::string_view nearest = detail::nearest_name(name, names);
    fail(setting, "there is no backend " + quoted(name) +
                      (nearest.empty() ? "; list it in external_backends, or remove this"
                                       : "; is " + quoted(nearest) + " meant?"));
    if (Place* place = find(nearest)) place->has_error = true;  // one mistake, one error
  }
  void add_stranger(std::string_view entry, const std::string& where) {
    // LMCache's keys have dots and are no maps in maps.
    if (entry == "external_backend" || entry == "storage_plugin") {
      has_nested_entries_ = true;
      findings_.fail(where, "key " + quoted(entry) +
                                " of extra_config must have each setting in "
                                "one line, as " +
                                std::string(entry) + ".NAME.module_path: FILE");
      return;
    }
    for (size_t i = 0; i < kWrongPrefixes.size(); ++i) {
      if (!entry.starts_with(kWrongPrefixes[i])) continue;
      findings_.fail(where, "key " + quoted(entry) + " of extra_config must start with '" +
                                std::string(kPrefixes[i]) + "', without the s");
      return;
    }
    findings_.warn(where, "key " + quoted(entry) +
                              " of extra_config is not read by kvferry; it has no effect");
  }
  void set(const ConfigSetting& setting, const std::string& key, ExternalBackendConfig& backend) {
    const YamlNode& value = setting.value;
    const bool is_ours = key == "module_path" || key == "class_name";
    if (is_ours && (value.kind != YamlNode::Kind::kScalar || value.text.empty())) {
      find(backend.name)->has_error = true;
      return fail(setting, "must be a text");
    }
    if (key == "module_path") {
      backend.module_path = value.text;
    } else if (key == "class_name") {
      backend.class_name = value.text;
    } else if (key == "required") {
      const Result<bool> is_required = read_bool(value);
      if (!is_required) return fail(setting, std::string(is_required.error().message()));
      backend.is_required = *is_required;
    } else {
      backend.settings[key] = yaml_text(value);
    }
  }

  ConfigFindings& findings_;
  std::vector<Place> places_;
  bool has_nested_entries_ = false;  // one mistake, one error
};

bool is_secret_key(std::string_view key) {
  constexpr std::array<std::string_view, 7> kSecrets = {
      "password", "passwd", "secret", "api_key", "apikey", "access_key", "accesskey"};
  std::string lower(key);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower.ends_with("_file") || lower.ends_with("_path")) return false;
  return lower.ends_with("token") || std::ranges::any_of(kSecrets, [&](std::string_view word) {
           return lower.find(word) != std::string::npos;
         });
}

bool has_secrets(const YamlNode& node) {
  return std::ranges::any_of(node.items, has_secrets) ||
         std::ranges::any_of(node.entries, [](const YamlEntry& entry) {
           return is_secret_key(entry.key) || has_secrets(entry.value);
         });
}

}  // namespace

std::vector<ExternalBackendConfig> make_external_backends(
    const std::vector<ConfigSetting>& settings, ConfigFindings& findings) {
  Collector collector(findings);
  for (const ConfigSetting& setting : settings) {
    if (std::ranges::find(kLists, setting.key) != kLists.end()) collector.add_names(setting);
  }
  for (const ConfigSetting& setting : settings) {
    if (setting.key.starts_with(kExtraPrefix)) collector.add_entry(setting);
  }
  return collector.finish();
}

std::string setting_text(std::string_view key, const YamlNode& value) {
  if (is_secret_key(key) || has_secrets(value)) return std::string(kHidden);
  std::string text = yaml_text(value);
  const size_t scheme = text.find("://");
  const size_t at = text.rfind('@');
  if (scheme == std::string::npos || at == std::string::npos || at < scheme) return text;
  return text.replace(scheme + 3, at - scheme - 3, kHidden);
}

}  // namespace kvferry
