#include "runtime/config/custom_values.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "core/printable.h"
#include "core/remote_url.h"

namespace kvferry {
namespace {

constexpr size_t kMaxEchoed = 64;
/// A sink's name is in its metrics and reports: two of one name could not be told apart.
constexpr std::array<std::string_view, 4> kBuiltInTiers = {"local_cpu", "local_disk", "remote",
                                                           "peer"};

std::string quoted(std::string_view text) {
  return "'" + detail::printable(text, kMaxEchoed) + "'";
}
Verdict error(std::string text) { return {.error = std::move(text), .warning = ""}; }

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

bool is_text(const YamlNode& node) { return node.kind == YamlNode::Kind::kScalar; }
bool is_null(const YamlNode& node) {
  return node.kind == YamlNode::Kind::kNull || (is_text(node) && node.text.empty());
}
Verdict not_text() { return error("must be one text, not a list or map"); }

std::string joined(const std::vector<std::string>& texts, std::string_view separator) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : std::string(separator)) + text;
  return out;
}

}  // namespace

Result<std::vector<std::string>> read_list(const YamlNode& node, char separator) {
  const auto invalid = [&] {
    return make_error(StatusCode::kInvalidArgument,
                      std::string("must be a list of texts, or one text as in \"a") + separator +
                          " b\", none of them empty");
  };
  std::vector<std::string> texts;
  if (node.kind == YamlNode::Kind::kMap) return invalid();
  if (is_text(node)) {
    for (size_t begin = 0; begin <= node.text.size();) {
      const size_t end = std::min(node.text.find(separator, begin), node.text.size());
      texts.push_back(node.text.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  for (const YamlNode& item : node.items) {
    if (!is_text(item)) return invalid();
    texts.push_back(item.text);
  }
  for (std::string& text : texts) {
    const size_t begin = std::min(text.find_first_not_of(" \t\r\n"), text.size());
    const size_t end = text.find_last_not_of(" \t\r\n") + 1;
    if (begin >= end) return invalid();
    text = text.substr(begin, end - begin);
  }
  return texts;
}

Result<bool> read_bool(const YamlNode& node) {
  const std::string text = is_text(node) ? lower(node.text) : "";
  if (text == "true" || text == "yes" || text == "on" || text == "1") return true;
  if (text == "false" || text == "no" || text == "off" || text == "0") return false;
  return make_error(StatusCode::kInvalidArgument,
                    (is_text(node) ? quoted(node.text) + " is neither" : "must be one of") +
                        std::string(" True nor False; write one of them"));
}

Verdict set_local_disk(CacheConfig& config, const YamlNode& node) {
  if (!is_text(node) && !is_null(node)) return not_text();
  std::string path = node.text;
  if (path.starts_with("file://")) path = path.substr(7);
  // LMCache's recipes write False for none.
  if (!node.is_quoted && (lower(path) == "false" || lower(path) == "no" || lower(path) == "off")) {
    path.clear();
  }
  if (path.find(',') != std::string::npos) {
    return error(quoted(path) + " holds a comma; kvferry has one directory a process, not several");
  }
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (!path.empty() && path[0] != '/') {
    return error(quoted(path) + " is no absolute path; write /DIRECTORY or file:///DIRECTORY");
  }
  config.local_disk.path = path;
  return {};
}
std::string show_local_disk(const CacheConfig& config) { return config.local_disk.path; }

Verdict set_remote_url(CacheConfig& config, const YamlNode& node) {
  if (!is_text(node) && !is_null(node)) return not_text();
  RemoteConfig parsed;
  if (!is_null(node)) {
    const Result<RemoteConfig> result = parse_remote_url(node.text);
    if (!result) return error(std::string(result.error().message()));
    parsed = *result;
  }
  RemoteConfig& remote = config.remote;
  remote.kind = parsed.kind;
  remote.host = parsed.host;
  remote.port = parsed.port;
  remote.path = parsed.path;
  remote.database = parsed.database;
  remote.username = parsed.username;
  remote.password = parsed.password;
  return {};
}
std::string show_remote_url(const CacheConfig& config) { return remote_url_text(config.remote); }

Verdict set_remote_serde(CacheConfig& /*config*/, const YamlNode& node) {
  if (is_null(node) || (is_text(node) && lower(node.text) == "naive")) return {};
  if (!is_text(node)) return not_text();
  if (node.text == "cachegen" || node.text == "kivi") {
    return error(quoted(node.text) +
                 " is lossy compression that kvferry does not have; write naive, and have a store "
                 "of its own for it");
  }
  return error(quoted(node.text) + " is unknown; write naive");
}
std::string show_remote_serde(const CacheConfig& /*config*/) { return "naive"; }

Verdict set_hash_algorithm(CacheConfig& /*config*/, const YamlNode& node) {
  if (is_null(node) || (is_text(node) && node.text == "sha256_cbor")) return {};
  if (!is_text(node)) return not_text();
  if (node.text == "builtin") {
    return {.error = "",
            .warning =
                "'builtin' is not the same from process to process; kvferry's keys are "
                "sha256_cbor"};
  }
  return error(quoted(node.text) +
               " is not there: keys in a shared store would differ; write sha256_cbor");
}
std::string show_hash_algorithm(const CacheConfig& /*config*/) { return "sha256_cbor"; }

Verdict set_plugin_path(CacheConfig& config, const YamlNode& node) {
  config.plugins.search_path.clear();
  if (is_null(node)) return {};
  auto list = read_list(node, ':');
  if (!list) return error(std::string(list.error().message()));
  config.plugins.search_path = *std::move(list);
  return {};
}
std::string show_plugin_path(const CacheConfig& config) {
  return joined(config.plugins.search_path, ":");
}

Verdict set_peer_listen(CacheConfig& config, const YamlNode& node) {
  if (!is_text(node) && !is_null(node)) return not_text();
  HostPort place;
  if (!is_null(node)) {
    const auto parsed = parse_host_port(node.text);
    if (!parsed) return error(quoted(node.text) + " is no HOST:PORT, port from 0 to 65535");
    place = *parsed;
  }
  config.peer.host = place.host;
  config.peer.port = place.port;
  return {};
}
std::string show_peer_listen(const CacheConfig& config) {
  return config.peer.host.empty() ? "" : host_port_text(config.peer.host, config.peer.port);
}

Verdict set_peers(CacheConfig& config, const YamlNode& node) {
  config.peer.peers.clear();
  if (is_null(node)) return {};
  const auto list = read_list(node, ',');
  if (!list) return error(std::string(list.error().message()));
  for (const std::string& text : *list) {
    const size_t sign = text.find('=');
    const auto place =
        sign == std::string::npos ? std::nullopt : parse_host_port(text.substr(sign + 1));
    const std::string name = text.substr(0, std::min(sign, text.size()));
    if (!place || place->port == 0 || name.empty() || name.size() > 256 ||
        !detail::is_printable(name)) {
      return error(quoted(text) + " is no NAME=HOST:PORT, port from 1 to 65535");
    }
    if (std::ranges::find(config.peer.peers, name, &PeerAddress::name) != config.peer.peers.end()) {
      return error("names the peer " + quoted(name) + " twice; keep one");
    }
    config.peer.peers.push_back({name, place->host, place->port});
  }
  return {};
}
std::string show_peers(const CacheConfig& config) {
  std::vector<std::string> texts;
  for (const PeerAddress& peer : config.peer.peers) {
    texts.push_back(peer.name + "=" + host_port_text(peer.host, peer.port));
  }
  return joined(texts, ", ");
}

Verdict set_backend_names(CacheConfig& /*config*/, const YamlNode& node) {
  if (is_null(node)) return {};
  const auto list = read_list(node, ',');
  if (!list) return error(std::string(list.error().message()));
  const auto is_name_char = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
  };
  for (const std::string& name : *list) {
    if (name.size() > 64 || !std::ranges::all_of(name, is_name_char)) {
      return error(quoted(name) +
                   " is no name of a backend; use up to 64 letters, digits, _ and -");
    }
    if (std::ranges::find(kBuiltInTiers, name) != kBuiltInTiers.end()) {
      return error(quoted(name) + " is a tier of kvferry's own; give the backend another name");
    }
  }
  return {};
}

Verdict set_extra_config(CacheConfig& /*config*/, const YamlNode& node) {
  if (is_null(node) || node.kind == YamlNode::Kind::kMap) return {};
  return error("must be a map, as in {external_backend.NAME.module_path: ...}");
}

}  // namespace kvferry
