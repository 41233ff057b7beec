#include "backends/remote/remote_url.h"

#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "core/printable.h"

namespace kvferry {
namespace {

constexpr uint16_t kRedisPort = 6379;
constexpr int kMaxDatabase = 16383;
constexpr size_t kMaxUrlBytes = 4096;
constexpr size_t kMaxSocketPathBytes = 107;  // the system's limit

struct SchemeName {
  RemoteScheme scheme;
  std::string_view name;
};
constexpr std::array<SchemeName, 4> kSchemes = {{{RemoteScheme::kFs, "fs"},
                                                 {RemoteScheme::kRedis, "redis"},
                                                 {RemoteScheme::kUnix, "unix"},
                                                 {RemoteScheme::kBlackhole, "blackhole"}}};

/// The text without what may be a password: everything between "://" and the last '@'.
std::string without_secrets(std::string_view text) {
  const size_t scheme_end = text.find("://");
  const size_t at = text.rfind('@');
  std::string shown(text);
  if (at != std::string_view::npos) {
    const size_t begin =
        scheme_end == std::string_view::npos || scheme_end + 3 > at ? 0 : scheme_end + 3;
    shown = std::string(text.substr(0, begin)) + "***" + std::string(text.substr(at));
  }
  return detail::printable(shown, 200);
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_value(text[i + 1]);
    const int low = hex_value(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

/// A decimal number of `most` at most, all of `text`.
std::optional<int> number_in(std::string_view text, int most) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || value > most) {
    return std::nullopt;
  }
  return value;
}

/// Reads one URL; every error names it.
class UrlParser {
 public:
  explicit UrlParser(std::string_view text) : text_(text) {}

  Result<RemoteUrl> parse() {
    if (text_.size() > kMaxUrlBytes) return make_error(wrong("is longer than 4096 bytes"));
    KVFERRY_RETURN_IF_ERROR(parse_scheme());
    switch (url_.scheme) {
      case RemoteScheme::kBlackhole:
        if (!rest_.empty()) return make_error(wrong("has something after blackhole://"));
        break;
      case RemoteScheme::kFs:
        KVFERRY_RETURN_IF_ERROR(parse_path("directory"));
        break;
      case RemoteScheme::kUnix:
        KVFERRY_RETURN_IF_ERROR(parse_user());
        KVFERRY_RETURN_IF_ERROR(parse_path("socket"));
        break;
      case RemoteScheme::kRedis:
        KVFERRY_RETURN_IF_ERROR(parse_user());
        KVFERRY_RETURN_IF_ERROR(parse_database());
        KVFERRY_RETURN_IF_ERROR(parse_host());
        break;
    }
    return std::move(url_);
  }

 private:
  Status wrong(const std::string& what) const {
    return Status(StatusCode::kInvalidArgument,
                  "remote_url '" + without_secrets(text_) + "' " + what);
  }

  Status parse_scheme() {
    const size_t end = text_.find("://");
    for (const SchemeName& known : kSchemes) {
      if (end == std::string_view::npos || text_.substr(0, end) != known.name) continue;
      url_.scheme = known.scheme;
      rest_ = text_.substr(end + 3);
      return {};
    }
    return wrong(
        "has no known scheme; known are fs:///directory, redis://host:port, "
        "unix:///path/of/socket, blackhole://");
  }

  // The last '@' of the authority: a password may hold others.
  Status parse_user() {
    const size_t slash = rest_.find('/');
    const size_t at = rest_.substr(0, slash).rfind('@');
    if (at == std::string_view::npos) return {};
    const std::string_view user = rest_.substr(0, at);
    rest_ = rest_.substr(at + 1);
    const size_t colon = user.find(':');
    const auto name = percent_decoded(user.substr(0, colon));
    const auto password = percent_decoded(colon == std::string_view::npos ? std::string_view()
                                                                          : user.substr(colon + 1));
    if (!name || !password) {
      return wrong("has a '%' in user or password that is not followed by two hex digits");
    }
    url_.username = *name;
    url_.password = *password;
    return {};
  }

  Status parse_path(const std::string& of_what) {
    if (rest_.empty() || rest_.front() != '/') {
      return wrong(
          "names no absolute path of a " + of_what + ", as in " +
          (url_.scheme == RemoteScheme::kFs ? "fs:///shared/kv" : "unix:///run/redis.sock"));
    }
    if (rest_.find('\0') != std::string_view::npos) return wrong("has a zero byte in its path");
    if (url_.scheme == RemoteScheme::kUnix && rest_.size() > kMaxSocketPathBytes) {
      return wrong("has a path of a socket that is longer than 107 bytes");
    }
    url_.path = rest_;
    return {};
  }

  Status parse_database() {
    const size_t slash = rest_.find('/');
    if (slash == std::string_view::npos) return {};
    const std::string_view database = rest_.substr(slash + 1);
    rest_ = rest_.substr(0, slash);
    if (database.empty()) return {};
    const auto number = number_in(database, kMaxDatabase);
    if (!number) return wrong("has a database that is not a number from 0 to 16383");
    url_.database = *number;
    return {};
  }

  Status parse_host() {
    std::string_view host = rest_;
    std::string_view port;
    if (!rest_.empty() && rest_.front() == '[') {
      const size_t end = rest_.find(']');
      if (end == std::string_view::npos) return wrong("has '[' without ']'");
      host = rest_.substr(1, end - 1);
      port = rest_.substr(end + 1);
    } else if (const size_t colon = rest_.find(':'); colon != std::string_view::npos) {
      host = rest_.substr(0, colon);
      port = rest_.substr(colon);
    }
    if (host.empty()) return wrong("names no host");
    if (!detail::is_printable(host)) return wrong("has a host with control characters");
    url_.host = host;
    url_.port = kRedisPort;
    if (port.empty()) return {};
    const auto number = port.front() == ':' ? number_in(port.substr(1), 65535) : std::nullopt;
    if (!number || *number == 0) return wrong("has a port that is not a number from 1 to 65535");
    url_.port = static_cast<uint16_t>(*number);
    return {};
  }

  const std::string_view text_;
  std::string_view rest_;
  RemoteUrl url_;
};

}  // namespace

std::string RemoteUrl::to_string() const {
  switch (scheme) {
    case RemoteScheme::kFs:
      return "fs://" + path;
    case RemoteScheme::kUnix:
      return "unix://" + path;
    case RemoteScheme::kBlackhole:
      return "blackhole://";
    case RemoteScheme::kRedis:
      break;
  }
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return "redis://" + (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port) +
         (database == 0 ? "" : "/" + std::to_string(database));
}

Result<RemoteUrl> parse_remote_url(std::string_view text) { return UrlParser(text).parse(); }

}  // namespace kvferry
