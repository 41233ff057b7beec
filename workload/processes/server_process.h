#pragma once

#include <memory>
#include <string>
#include <vector>

#include "workload/processes/subprocess.h"
#include "workload/processes/temp_dir.h"

namespace kvferry {

/// A redis-server of its starter's own: in a temporary directory, on a Unix socket and on a free
/// port of the loopback. Ended with this, or with the starter's process.
class RedisServer {
 public:
  /// Null where redis-server is not installed: "scripts/setup test" does that.
  /// `options` as on its command line: {"--requirepass", "secret"}.
  static std::unique_ptr<RedisServer> start(std::vector<std::string> options = {});
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  std::string unix_url() const { return "unix://" + socket_path(); }
  std::string tcp_url() const { return "redis://127.0.0.1:" + std::to_string(port_); }
  std::string socket_path() const { return directory_.file("redis.sock"); }
  int port() const { return port_; }

  /// As a crash: what it held is lost.
  void kill();
  /// Again, where it was.
  bool restart();
  /// Does not run, but its connections stay.
  void pause();
  void resume();
  /// The answer to one command, as redis-cli prints it.
  std::string command(const std::vector<std::string>& words) const;

 private:
  explicit RedisServer(std::vector<std::string> options) : options_(std::move(options)) {}

  bool run();

  TempDir directory_;
  const std::vector<std::string> options_;
  int port_ = 0;
  std::unique_ptr<Subprocess> process_;
};

/// A TCP port of the loopback that nobody listens on just now; 0 if there is none.
int free_port();

}  // namespace kvferry
