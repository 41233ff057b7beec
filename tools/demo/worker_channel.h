#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "core/unique_fd.h"
#include "kvferry/status.h"

namespace kvferry {

/// JSON lines over a socket between the supervisor and one worker.
///
/// Threads: caller serialises.
class WorkerChannel {
 public:
  explicit WorkerChannel(UniqueFd socket) : socket_(std::move(socket)) {}

  /// Two connected ends. Errors: kResourceExhausted with the errno.
  static Result<std::pair<UniqueFd, UniqueFd>> make_pair();

  /// Errors: kUnavailable when the other end is gone.
  Status send(const nlohmann::json& message);

  /// Waits for the next message. Errors: kUnavailable when the other end is gone;
  ///   kInvalidArgument for a line that is no JSON.
  Result<nlohmann::json> receive();

  /// A message that has arrived already; reads what the socket holds without waiting.
  /// Errors: as receive().
  Result<std::optional<nlohmann::json>> try_receive();

  int fd() const { return socket_.get(); }

 private:
  std::optional<std::string> take_line();
  /// False when nothing was there (and `wait` is false).
  Result<bool> read_some(bool wait);

  UniqueFd socket_;
  std::string received_;
};

}  // namespace kvferry
