#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kvferry/status.h"

namespace kvferry {

enum class RemoteScheme : uint8_t { kFs, kRedis, kUnix, kBlackhole };

/// A `remote_url`, taken apart.
struct RemoteUrl {
  RemoteScheme scheme = RemoteScheme::kBlackhole;
  std::string username;
  std::string password;
  std::string host;  ///< without the brackets of an IPv6 address
  uint16_t port = 0;
  int database = 0;
  std::string path;  ///< of the directory or the socket

  /// For logs and messages: everything but user and password.
  std::string to_string() const;
};

/// Errors: kInvalidArgument naming what is wrong with it, never the password.
Result<RemoteUrl> parse_remote_url(std::string_view text);

}  // namespace kvferry
