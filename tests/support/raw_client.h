#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "runtime/control/messages.h"
#include "runtime/control/tcp_channel.h"
#include "tests/support/status_matchers.h"

namespace kvferry {

/// A TCP client that says whatever a test likes, and waits with a deadline for what comes back.
///
/// Threads: one at a time.
class RawClient {
 public:
  explicit RawClient(UniqueFd socket) : socket_(std::move(socket)) {}
  static RawClient connect(uint16_t port) {
    return RawClient(tcp_connect("127.0.0.1", port, kPatience).value());
  }

  static std::vector<std::byte> framed(std::span<const std::byte> message) {
    std::vector<std::byte> out;
    for (size_t i = 0; i < 4; ++i) out.push_back(static_cast<std::byte>(message.size() >> (8 * i)));
    out.insert(out.end(), message.begin(), message.end());
    return out;
  }

  /// False when the other side has gone, or does not read.
  bool send_bytes(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n > 0) {
        bytes = bytes.subspan(static_cast<size_t>(n));
      } else if (errno != EAGAIN || !wait_for(POLLOUT)) {
        return false;
      }
    }
    return true;
  }
  bool send(const ControlMessage& message) { return send_bytes(framed(encode(message).value())); }

  /// The next message's bytes; nothing if the connection ended or stayed silent.
  std::optional<std::vector<std::byte>> receive_bytes() {
    for (;;) {
      if (received_.size() >= 4) {
        size_t length = 0;
        for (size_t i = 0; i < 4; ++i) length |= std::to_integer<size_t>(received_[i]) << (8 * i);
        if (received_.size() >= 4 + length) {
          const auto begin = received_.begin() + 4;
          std::vector<std::byte> message(begin, begin + static_cast<ptrdiff_t>(length));
          received_.erase(received_.begin(), begin + static_cast<ptrdiff_t>(length));
          return message;
        }
      }
      if (!read_some()) return std::nullopt;
    }
  }
  std::optional<ControlMessage> receive() {
    const auto bytes = receive_bytes();
    if (!bytes) return std::nullopt;
    auto message = decode_message(*bytes);
    EXPECT_THAT(message, IsOk());
    if (!message) return std::nullopt;
    return std::move(message).value();
  }
  /// The next message of that type; others are passed over.
  template <typename Message>
  std::optional<Message> receive_one() {
    while (auto message = receive()) {
      if (auto* found = std::get_if<Message>(&*message)) return std::move(*found);
    }
    return std::nullopt;
  }

  /// True when the other side has ended the connection, after what it may have sent before.
  bool is_ended_by_peer() {
    while (read_some()) {
    }
    return ended_;
  }

  void close() { socket_.reset(); }
  int fd() const { return socket_.get(); }

 private:
  static constexpr std::chrono::seconds kPatience{20};

  bool wait_for(short events) const {
    pollfd poll_fd{socket_.get(), events, 0};
    return ::poll(&poll_fd, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count())) == 1;
  }

  bool read_some() {
    if (ended_ || !wait_for(POLLIN)) return false;
    std::array<std::byte, 4096> buffer;
    const ssize_t n = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (n <= 0) {
      ended_ = n == 0 || errno == ECONNRESET;
      return false;
    }
    received_.insert(received_.end(), buffer.begin(), buffer.begin() + n);
    return true;
  }

  UniqueFd socket_;
  std::vector<std::byte> received_;
  bool ended_ = false;
};

}  // namespace kvferry
