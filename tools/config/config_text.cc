#include "tools/config/config_text.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "core/printable.h"
#include "core/remote_url.h"
#include "runtime/config/schema.h"
#include "runtime/config/values.h"
#include "runtime/plugin_folder.h"

namespace kvferry {
namespace {

constexpr size_t kMaxEchoed = 200;
constexpr size_t kTierWidth = 24;
constexpr size_t kMaxKeyWidth = 40;

std::string shown(std::string_view text) { return detail::printable(text, kMaxEchoed); }

/// In the largest binary unit that leaves a number people can read.
std::string size_text(size_t bytes) {
  constexpr size_t kKib = 1024;
  constexpr size_t kMib = kKib * kKib;
  constexpr size_t kGib = kKib * kMib;
  const auto in = [&](size_t unit, const char* name) {
    const double hundredths = 100.0 * static_cast<double>(bytes) / static_cast<double>(unit);
    return number_text(static_cast<double>(static_cast<int64_t>(hundredths)) / 100) + " " + name;
  };
  if (bytes >= kGib) return in(kGib, "GiB");
  if (bytes >= kMib) return in(kMib, "MiB");
  return std::to_string(bytes) + " bytes";
}

std::string time_text(Duration time) {
  const double seconds = std::chrono::duration<double>(time).count();
  return seconds >= 1 ? number_text(seconds) + " s" : number_text(seconds * 1000) + " ms";
}

/// The value of a key, as written.
std::string value_of(std::string_view key, const CacheConfig& config) {
  return shown(show_value(*find_key(key), config));
}

std::string disk_text(const CacheConfig& config) {
  return shown(config.local_disk.path) + ", " + size_text(config.local_disk.max_bytes) +
         " at most, " + value_of("cache_policy", config) + ", durability " +
         value_of("disk_durability", config) + ", io " + value_of("disk_io", config) + ", " +
         std::to_string(config.local_disk.queue_depth) + " requests at once";
}

std::string peers_text(const CacheConfig& config) {
  const PeerConfig& peer = config.peer;
  return value_of("peers", config) + ", over " + peer.transport + ", " + time_text(peer.timeout) +
         " an answer" +
         (peer.push_to.empty() ? ", nothing is pushed" : ", pushes go to " + shown(peer.push_to));
}

std::string remote_text(const CacheConfig& config) {
  const RemoteConfig& remote = config.remote;
  std::string user = remote.username.empty() ? "" : ", user " + shown(remote.username);
  if (!remote.password_file.empty()) user += ", password in " + shown(remote.password_file);
  return shown(remote_url_text(remote)) + user + ", " + std::to_string(remote.connections) +
         " connections, " + time_text(remote.timeout) + " a request";
}

std::string backend_text(const ExternalBackendConfig& backend) {
  std::string text = "module " + shown(backend.module_path);
  if (!backend.class_name.empty()) text += ", class " + shown(backend.class_name);
  if (!backend.is_required) text += ", not required";
  if (!backend.settings.empty()) {
    const size_t count = backend.settings.size();
    text += ", " + std::to_string(count) + (count == 1 ? " setting" : " settings") + " of its own";
  }
  return text;
}

struct Tier {
  std::string name;
  std::string text;
};

std::vector<Tier> tiers_of(const CacheConfig& config) {
  std::vector<Tier> tiers;
  if (config.local_cpu.is_tier) {
    tiers.push_back({"local_cpu", "in the pool, " + value_of("cache_policy", config)});
  }
  if (!config.peer.peers.empty()) tiers.push_back({"peer", peers_text(config)});
  if (!config.local_disk.path.empty()) tiers.push_back({"local_disk", disk_text(config)});
  if (config.remote.kind != RemoteKind::kNone) tiers.push_back({"remote", remote_text(config)});
  for (const ExternalBackendConfig& backend : config.external_backends) {
    tiers.push_back({backend.name, backend_text(backend)});
  }
  return tiers;
}

std::string pool_text(const CacheConfig& config) {
  return "a pool of " + size_text(config.local_cpu.pool_bytes) +
         (config.local_cpu.is_tier ? "" : ", for chunks on their way only");
}

std::string chunks_text(const CacheConfig& config) {
  return std::to_string(config.chunk_tokens) + " tokens, " +
         (config.save_unfull_chunk ? "shorter ones too" : "no shorter ones") +
         (config.save_decode_cache ? ", of generated tokens too" : "") +
         (config.use_layerwise ? ", layer by layer" : "") + "; keys by sha256_cbor, seed '" +
         shown(config.hash_seed) + "'";
}

std::string padded(std::string text, size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

nlohmann::json notices_json(const std::vector<ConfigNotice>& notices) {
  nlohmann::json list = nlohmann::json::array();
  for (const ConfigNotice& notice : notices) {
    list.push_back({{"where", notice.where}, {"text", notice.text}});
  }
  return list;
}

std::string environment_name(const KeySpec& spec) {
  std::string name = "KVFERRY_" + std::string(spec.name);
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

std::string table(KeyHome home) {
  std::string text =
      "| key | type | unit | default | range | meaning |\n|---|---|---|---|---|---|\n";
  for (const KeySpec& spec : config_schema()) {
    if (spec.home != home) continue;
    const std::string shown_default = show_value(spec, {});
    text += "| `" + std::string(spec.name) + "` | " + type_name(spec) + " | " +
            std::string(spec.unit) + " | " + (shown_default.empty() ? "none" : shown_default) +
            " | " + range_text(spec) + " | " + std::string(spec.meaning) + " |\n";
  }
  return text;
}

}  // namespace

std::string built_text(const CacheConfig& config) {
  std::string text = "memory   " + pool_text(config) + "\nchunks   " + chunks_text(config) +
                     "\ntiers    in the order in which they are asked\n";
  const std::vector<Tier> tiers = tiers_of(config);
  for (size_t i = 0; i < tiers.size(); ++i) {
    text += "  " + std::to_string(i + 1) + "  " + padded(tiers[i].name, kTierWidth) + "  " +
            tiers[i].text + "\n";
  }
  if (tiers.empty()) text += "  none\n";
  const SinkConfig& sinks = config.sinks;
  text += "sinks    each " + size_text(sinks.max_in_flight_bytes) + " in flight, " +
          std::to_string(sinks.max_waiting_chunks) +
          " chunks waiting; remote and external ones left alone for " +
          time_text(sinks.breaker_cooldown) + " after " + std::to_string(sinks.breaker_failures) +
          " failures in a row\n";
  text += "limits   store " + time_text(config.store_timeout) + ", retrieve " +
          time_text(config.retrieve_timeout) + ", lookup " + time_text(config.lookup_timeout) +
          ", pin " + time_text(config.pin_timeout) + "; prefetch " +
          size_text(config.prefetch_max_in_flight_bytes) + " in flight\n";
  text += "threads  " + std::to_string(config.copy_threads) + " to copy, " +
          std::to_string(config.io_threads) + " for what blocks in each tier\n";
  if (!config.external_backends.empty()) {
    text += "plugins  " + time_text(config.plugins.call_timeout) + " a call, " +
            std::to_string(config.plugins.max_in_flight) + " calls at once; looked for in";
    for (const std::string& folder : plugin_search_path(config.plugins))
      text += " " + shown(folder);
    text += "\n";
  }
  text += "metrics  " +
          (config.metrics.port == 0 ? "none"
                                    : "http://" + shown(config.metrics.host) + ":" +
                                          std::to_string(config.metrics.port) + "/metrics") +
          "\n";
  return text;
}

std::string effective_text(const LoadedConfig& loaded) {
  size_t key_width = 0;
  size_t value_width = 0;
  for (const ConfigValue& value : loaded.effective) {
    key_width = std::max(key_width, value.key.size());
    value_width = std::max(value_width, shown(value.value).size());
  }
  key_width = std::min(key_width, kMaxKeyWidth);
  value_width = std::min(value_width, kMaxKeyWidth);
  std::string text;
  for (const ConfigValue& value : loaded.effective) {
    text += padded(shown(value.key), key_width) + "  " +
            padded(value.value.empty() ? "-" : shown(value.value), value_width) + "  " +
            value.where + "\n";
  }
  return text;
}

nlohmann::json config_json(const LoadedConfig& loaded) {
  nlohmann::json values = nlohmann::json::array();
  for (const ConfigValue& value : loaded.effective) {
    values.push_back({{"key", value.key}, {"value", value.value}, {"where", value.where}});
  }
  nlohmann::json tiers = nlohmann::json::array();
  for (const Tier& tier : tiers_of(loaded.config)) {
    tiers.push_back({{"name", tier.name}, {"text", tier.text}});
  }
  return {{"file", loaded.path},
          {"valid", true},
          {"errors", nlohmann::json::array()},
          {"warnings", notices_json(loaded.warnings)},
          {"tiers", std::move(tiers)},
          {"effective", std::move(values)}};
}

nlohmann::json config_json(const ConfigErrors& errors) {
  return {{"valid", false},
          {"errors", notices_json(errors.errors)},
          {"warnings", notices_json(errors.warnings)}};
}

std::string schema_text() {
  return "### LMCache's keys\n\n" + table(KeyHome::kLmcache) +
         "\n### Keys of the `kvferry:` map\n\n" + table(KeyHome::kKvferry);
}

nlohmann::json schema_json() {
  nlohmann::json keys = nlohmann::json::array();
  for (const KeySpec& spec : config_schema()) {
    keys.push_back({{"key", spec.name},
                    {"map", spec.home == KeyHome::kKvferry ? "kvferry" : ""},
                    {"environment", environment_name(spec)},
                    {"type", type_name(spec)},
                    {"unit", spec.unit},
                    {"default", show_value(spec, {})},
                    {"range", range_text(spec)},
                    {"meaning", spec.meaning}});
  }
  return {{"keys", std::move(keys)}};
}

}  // namespace kvferry
