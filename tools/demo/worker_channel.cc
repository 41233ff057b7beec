#include "tools/demo/worker_channel.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace kvferry {
namespace {

Result<nlohmann::json> parse(const std::string& line) {
  nlohmann::json message = nlohmann::json::parse(line, nullptr, false);
  if (message.is_discarded()) {
    return make_error(StatusCode::kInvalidArgument, "a worker said what is no JSON: " + line);
  }
  return message;
}

}  // namespace

Result<std::pair<UniqueFd, UniqueFd>> WorkerChannel::make_pair() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return make_error(StatusCode::kResourceExhausted,
                      std::string("no socket pair for a worker: ") + std::strerror(errno));
  }
  return std::make_pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

Status WorkerChannel::send(const nlohmann::json& message) {
  const std::string line = message.dump() + "\n";
  size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t n = ::send(socket_.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status(StatusCode::kUnavailable, "the other end is gone");
    sent += static_cast<size_t>(n);
  }
  return {};
}

std::optional<std::string> WorkerChannel::take_line() {
  const size_t end = received_.find('\n');
  if (end == std::string::npos) return std::nullopt;
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 1);
  return line;
}

Result<bool> WorkerChannel::read_some(bool wait) {
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t n = ::recv(socket_.get(), buffer.data(), buffer.size(), wait ? 0 : MSG_DONTWAIT);
    if (n > 0) {
      received_.append(buffer.data(), static_cast<size_t>(n));
      return true;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    return make_error(StatusCode::kUnavailable, "the other end is gone");
  }
}

Result<nlohmann::json> WorkerChannel::receive() {
  for (;;) {
    if (const auto line = take_line()) return parse(*line);
    KVFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const bool read, read_some(true));
  }
}

Result<std::optional<nlohmann::json>> WorkerChannel::try_receive() {
  for (;;) {
    if (const auto line = take_line()) {
      KVFERRY_ASSIGN_OR_RETURN(nlohmann::json message, parse(*line));
      return std::optional<nlohmann::json>(std::move(message));
    }
    KVFERRY_ASSIGN_OR_RETURN(const bool read, read_some(false));
    if (!read) return std::optional<nlohmann::json>();
  }
}

}  // namespace kvferry
