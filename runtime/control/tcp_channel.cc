#include "runtime/control/tcp_channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace kvferry {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr size_t kReadBytes = 64U << 10;
// A peer that never stops sending gets so many reads before the executor looks after others.
constexpr int kReadsPerTurn = 64;

uint32_t read_length(std::span<const std::byte> bytes) {
  uint32_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length |= std::to_integer<uint32_t>(bytes[i]) << (8 * i);
  }
  return length;
}

}  // namespace

TcpChannel::TcpChannel(UniqueFd socket, Executor& executor, Limits limits)
    : socket_(std::move(socket)), executor_(executor), limits_(limits) {}

TcpChannel::~TcpChannel() {
  *alive_ = false;
  close();
}

Status TcpChannel::start(MessageHandler on_message, CloseHandler on_close) {
  handlers_ =
      std::make_shared<const Handlers>(Handlers{std::move(on_message), std::move(on_close)});
  return executor_.watch_fd(socket_.get(), false, [this] { on_ready(); });
}

void TcpChannel::send(std::span<const std::byte> message) {
  if (!socket_.is_open()) return;
  if (unsent_.size() + message.size() > limits_.max_unsent_bytes) {
    end(Status(StatusCode::kResourceExhausted,
               "the peer does not read its control messages: " + std::to_string(unsent_.size()) +
                   " bytes are waiting"));
    return;
  }
  const auto length = static_cast<uint32_t>(message.size());
  for (size_t i = 0; i < kLengthBytes; ++i) {
    unsent_.push_back(static_cast<std::byte>(length >> (8 * i)));
  }
  unsent_.insert(unsent_.end(), message.begin(), message.end());
  flush();
}

void TcpChannel::flush() {
  size_t sent = 0;
  while (sent < unsent_.size()) {
    const ssize_t n =
        ::send(socket_.get(), unsent_.data() + sent, unsent_.size() - sent, MSG_NOSIGNAL);
    if (n > 0) {
      sent += static_cast<size_t>(n);
    } else if (errno != EINTR) {
      break;  // EAGAIN waits for the socket; an error shows as end of file to the reader
    }
  }
  unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<ptrdiff_t>(sent));
  const bool watch_writes = !unsent_.empty();
  if (watch_writes == watching_writes_) return;
  watching_writes_ = watch_writes;
  executor_.watch_fd(socket_.get(), watch_writes, [this] { on_ready(); })
      .ignore("the socket is watched already");
}

void TcpChannel::on_ready() {
  const std::shared_ptr<bool> alive = alive_;
  if (!unsent_.empty()) flush();
  // What was read is delivered before the end of the stream is acted upon: last words count.
  bool more = true;
  for (int reads = 0; more && reads < kReadsPerTurn; ++reads) {
    more = read_some();
    if (!*alive || !socket_.is_open() || !deliver()) return;
  }
}

/// False when the socket has nothing more for now, or has ended.
bool TcpChannel::read_some() {
  std::array<std::byte, kReadBytes> buffer;
  const ssize_t n = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n > 0) {
    received_.insert(received_.end(), buffer.begin(), buffer.begin() + n);
    return true;
  }
  if (n == 0) {
    end(received_.empty() ? Status()
                          : Status(StatusCode::kUnavailable, "the peer closed in mid-message"));
    return false;
  }
  if (errno == EINTR) return true;
  if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
  const int error = errno;
  end(Status::native(StatusCode::kUnavailable, ErrorDomain::kErrno, error,
                     std::string("the control connection broke: ") + std::strerror(error)));
  return false;
}

size_t TcpChannel::message_limit() const {
  if (is_trusted_) return limits_.max_message_bytes;
  return std::min(limits_.max_message_bytes, limits_.max_stranger_bytes);
}

/// False when the channel ended or is no more.
bool TcpChannel::deliver() {
  const std::shared_ptr<bool> alive = alive_;
  const std::shared_ptr<const Handlers> handlers = handlers_;
  size_t position = 0;
  while (received_.size() - position >= kLengthBytes) {
    const std::span<const std::byte> rest = std::span(received_).subspan(position);
    const size_t length = read_length(rest);
    if (length > message_limit()) {
      end(Status(StatusCode::kInvalidArgument,
                 "the peer announces a message of " + std::to_string(length) +
                     " bytes; the limit is " + std::to_string(message_limit()) +
                     (is_trusted_ ? "" : " until it has said who it is")));
      return false;
    }
    if (rest.size() - kLengthBytes < length) break;
    handlers->on_message(rest.subspan(kLengthBytes, length));
    if (!*alive || !socket_.is_open()) return false;
    position += kLengthBytes + length;
  }
  received_.erase(received_.begin(), received_.begin() + static_cast<ptrdiff_t>(position));
  return true;
}

void TcpChannel::close() {
  if (!socket_.is_open()) return;
  executor_.unwatch_fd(socket_.get());
  socket_.reset();
}

void TcpChannel::end(Status status) {
  if (!socket_.is_open()) return;
  close();
  const std::shared_ptr<const Handlers> handlers = handlers_;
  if (handlers && handlers->on_close) handlers->on_close(std::move(status));
}

}  // namespace kvferry
