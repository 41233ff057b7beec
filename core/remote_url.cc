#include "core/remote_url.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "core/printable.h"

namespace kvferry {
namespace {

constexpr size_t kMaxEchoed = 32;
constexpr size_t kMaxUrlBytes = 4096;
constexpr size_t kMaxSocketPathBytes = 107;  // the system's limit
constexpr int64_t kMaxDatabase = 65'535;
constexpr std::string_view kForms =
    "write redis://HOST:PORT, unix:///SOCKET, fs:///DIRECTORY or blackhole://ANY";

struct UnsupportedScheme {
  std::string_view scheme;
  std::string_view advice;
};
constexpr std::array kUnsupported = {
    UnsupportedScheme{"rediss", "TLS is not there yet; use redis:// through a tunnel"},
    UnsupportedScheme{"redis-sentinel", "sentinels are not there yet; name the master as redis://"},
    UnsupportedScheme{"valkey", "use redis://, which it speaks, too"},
    UnsupportedScheme{"lm", "use redis:// or fs://"},
    UnsupportedScheme{"s3", "plug a backend in by external_backends"},
    UnsupportedScheme{"mooncakestore", "plug a backend in by external_backends"},
    UnsupportedScheme{"infinistore", "plug a backend in by external_backends"},
    UnsupportedScheme{"plugin", "plug a backend in by external_backends"},
    UnsupportedScheme{"external", "plug a backend in by external_backends"},
    UnsupportedScheme{"audit", "plug a backend in by external_backends"},
    UnsupportedScheme{"mock", "use blackhole:// or fs://"},
};

/// Digits only, as a number up to `most`.
template <typename T>
std::optional<T> parse_digits(std::string_view text, T most) {
  T number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stopped != end || number < 0 || number > most) return std::nullopt;
  return number;
}

/// %40 and the like, as in a password with an @.
std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    const char* const digits = text.data() + i + 1;
    if (text.size() - i < 3) return std::nullopt;
    const auto [stopped, error] = std::from_chars(digits, digits + 2, value, 16);
    if (error != std::errc() || stopped != digits + 2) return std::nullopt;
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

Status fill_credentials(std::string_view text, RemoteConfig& remote) {
  const size_t colon = text.find(':');
  const auto user = percent_decoded(colon == std::string_view::npos ? "" : text.substr(0, colon));
  const auto password =
      percent_decoded(colon == std::string_view::npos ? text : text.substr(colon + 1));
  if (!user || !password || password->empty()) {
    return {StatusCode::kInvalidArgument,
            "what stands before the @ must be USER:PASSWORD or :PASSWORD, with %40 for an @"};
  }
  remote.username = *user;
  remote.password = *password;
  return {};
}

Result<RemoteConfig> parse_redis(std::string_view rest) {
  RemoteConfig remote;
  remote.kind = RemoteKind::kRedis;
  if (const size_t at = rest.rfind('@'); at != std::string_view::npos) {
    KVFERRY_RETURN_IF_ERROR(fill_credentials(rest.substr(0, at), remote));
    rest.remove_prefix(at + 1);
  }
  if (const size_t slash = rest.find('/'); slash != std::string_view::npos) {
    const std::string_view database = rest.substr(slash + 1);
    rest = rest.substr(0, slash);
    const auto number = parse_digits<int64_t>(database.empty() ? "0" : database, kMaxDatabase);
    if (!number) {
      return make_error(StatusCode::kInvalidArgument,
                        "what follows the host must be /NUMBER, a database from 0 to 65535");
    }
    remote.database = *number;
  }
  const bool has_port = rest.find(':') != std::string_view::npos && !rest.ends_with(']');
  const auto place = parse_host_port(has_port ? std::string(rest) : std::string(rest) + ":6379");
  if (!place || place->port == 0) {
    return make_error(StatusCode::kInvalidArgument,
                      "needs a host, and a port from 1 to 65535 if there is one, as in "
                      "redis://HOST:6379; IPv6 as redis://[::1]:6379");
  }
  remote.host = place->host;
  remote.port = place->port;
  return remote;
}

Result<RemoteConfig> parse_path(RemoteKind kind, std::string_view scheme, std::string_view rest) {
  // What stands before the path is a host that is not used, or what a socket's server asks for.
  const size_t slash = rest.find('/');
  RemoteConfig remote;
  remote.kind = kind;
  const std::string_view before = rest.substr(0, slash);
  if (kind == RemoteKind::kRedis && before.ends_with('@')) {
    KVFERRY_RETURN_IF_ERROR(fill_credentials(before.substr(0, before.size() - 1), remote));
  }
  if (slash != std::string_view::npos) remote.path = rest.substr(slash);
  while (remote.path.size() > 1 && remote.path.back() == '/') remote.path.pop_back();
  if (remote.path.size() < 2) {
    return make_error(StatusCode::kInvalidArgument,
                      "needs an absolute path, as in " + std::string(scheme) + ":///mnt/shared");
  }
  if (kind == RemoteKind::kRedis && remote.path.size() > kMaxSocketPathBytes) {
    return make_error(StatusCode::kInvalidArgument, "has a path of " +
                                                        std::to_string(remote.path.size()) +
                                                        " bytes, and a socket's has 107 at most");
  }
  return remote;
}

}  // namespace

std::optional<HostPort> parse_host_port(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || text.size() > 300) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool is_bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  const auto is_host_char = [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_' ||
           (is_bracketed && (c == ':' || c == '%'));
  };
  const auto port = parse_digits<int>(text.substr(colon + 1), 65'535);
  if (host.empty() || !port || !std::ranges::all_of(host, is_host_char)) return std::nullopt;
  return HostPort{std::string(host), static_cast<uint16_t>(*port)};
}

std::string host_port_text(std::string_view host, uint16_t port) {
  const bool is_v6 = host.find(':') != std::string_view::npos;
  return (is_v6 ? "[" + std::string(host) + "]" : std::string(host)) + ":" + std::to_string(port);
}

Result<RemoteConfig> parse_remote_url(std::string_view url) {
  const size_t mark = url.find("://");
  if (mark == std::string_view::npos || mark == 0 || url.size() > kMaxUrlBytes) {
    return make_error(StatusCode::kInvalidArgument, "is no URL; " + std::string(kForms));
  }
  const std::string_view scheme = url.substr(0, mark);
  const std::string_view rest = url.substr(mark + 3);
  if (scheme == "redis") return parse_redis(rest);
  if (scheme == "unix" || scheme == "redis+unix") {
    return parse_path(RemoteKind::kRedis, scheme, rest);
  }
  if (scheme == "fs") return parse_path(RemoteKind::kFs, scheme, rest);
  if (scheme == "blackhole") {
    RemoteConfig remote;
    remote.kind = RemoteKind::kBlackhole;
    return remote;
  }
  const std::string named =
      "has the scheme '" + detail::printable(scheme, kMaxEchoed) + "', which ";
  const auto known = std::ranges::find(kUnsupported, scheme, &UnsupportedScheme::scheme);
  if (known != kUnsupported.end()) {
    return make_error(StatusCode::kUnimplemented,
                      named + "LMCache has and kvferry does not; " + std::string(known->advice));
  }
  return make_error(StatusCode::kInvalidArgument, named + "is unknown; " + std::string(kForms));
}

std::string remote_url_text(const RemoteConfig& remote) {
  switch (remote.kind) {
    case RemoteKind::kNone:
      return "";
    case RemoteKind::kFs:
      return "fs://" + remote.path;
    case RemoteKind::kBlackhole:
      return "blackhole://";
    case RemoteKind::kRedis:
      break;
  }
  const std::string credentials = remote.password.empty() ? "" : remote.username + ":***@";
  if (!remote.path.empty()) return "unix://" + credentials + remote.path;
  const std::string database = remote.database == 0 ? "" : "/" + std::to_string(remote.database);
  return "redis://" + credentials + host_port_text(remote.host, remote.port) + database;
}

}  // namespace kvferry
