#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "kvferry/cache_config.h"
#include "kvferry/status.h"

namespace kvferry {

/// The store that a `remote_url` names: kind, place and credentials; the rest is as by default.
/// Errors: kInvalidArgument without the URL itself, which may hold a password; kUnimplemented for a
/// scheme that LMCache has and kvferry does not.
Result<RemoteConfig> parse_remote_config(std::string_view url);

/// The same as a URL, its password as ***.
std::string remote_url_text(const RemoteConfig& remote);

/// HOST:PORT or [HOST]:PORT.
struct HostPort {
  std::string host;
  uint16_t port = 0;
};
std::optional<HostPort> parse_host_port(std::string_view text);
std::string host_port_text(std::string_view host, uint16_t port);

}  // namespace kvferry
