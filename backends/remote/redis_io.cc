#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "backends/remote/redis_connection.h"

// RedisConnection's bytes: from the socket through the reader, and from memory to the socket.
namespace kvferry {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr int kReadsPerEvent = 64;  // then the executor's other work has its turn
constexpr int kMaxParts = 64;       // of one send

constexpr std::string_view kLineEnd = "\r\n";

/// The memory of a command from `sent_bytes` on, as parts of one send.
class SendParts {
 public:
  bool has_room() const { return num_parts_ + 4 <= kMaxParts; }

  void add(const RedisOp& op) {
    skip_ = op.sent_bytes;
    add_part(op.head.data(), op.head.size());
    if (!op.obj) return;
    add_part(op.record_head.data(), op.record_head.size());
    add_part(op.obj->bytes().data(), op.obj->bytes().size());
    add_part(kLineEnd.data(), kLineEnd.size());
  }

  ssize_t send(int fd) {
    msghdr message{};
    message.msg_iov = parts_.data();
    message.msg_iovlen = static_cast<size_t>(num_parts_);
    return ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  }

 private:
  void add_part(const void* data, size_t size_bytes) {
    const size_t skipped = std::min(skip_, size_bytes);
    skip_ -= skipped;
    if (skipped == size_bytes) return;
    parts_.at(static_cast<size_t>(num_parts_++)) = {
        const_cast<char*>(static_cast<const char*>(data)) + skipped, size_bytes - skipped};
  }

  std::array<iovec, kMaxParts> parts_{};
  int num_parts_ = 0;
  size_t skip_ = 0;
};

}  // namespace

void RedisConnection::watch(bool want_write) {
  const Status status = context_.executor->watch_fd(
      socket_.get(), want_write, [self = shared_from_this()] { self->on_event(); });
  wants_write_ = want_write;
  if (!status.is_ok()) {
    // Not from here: whoever watches goes on with the socket.
    context_.executor->post([self = shared_from_this(), attempt = attempt_, status] {
      if (self->attempt_ == attempt) self->fail(status.with_context(self->where()));
    });
  }
}

void RedisConnection::on_event() {
  if (state_ == State::kConnecting) return finish_connect();
  read_some();
  if (socket_.is_open()) write_some();
}

// ---- reading

void RedisConnection::read_some() {
  if (read_buffer_.empty()) read_buffer_.resize(kReadBytes);
  for (int i = 0; i < kReadsPerEvent && socket_.is_open(); ++i) {
    const ssize_t n = ::recv(socket_.get(), read_buffer_.data(), read_buffer_.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      const std::string why = n == 0 ? "it was closed by the server" : std::strerror(errno);
      return fail(
          Status(StatusCode::kUnavailable, "lost the connection to " + where() + ": " + why));
    }
    last_progress_ = now();
    const Status fed = reader_->feed(std::span(read_buffer_).first(static_cast<size_t>(n)));
    if (!fed.is_ok())
      return fail(Status(StatusCode::kUnavailable, where() + ": " + fed.to_string()));
    if (!read_answers()) return;
  }
}

/// False when the connection was lost.
bool RedisConnection::read_answers() {
  while (socket_.is_open()) {
    auto answer = reader_->next([this](std::span<const std::byte> value) {
      if (!sent_.empty() && !sent_.front().has_ended && sent_.front().on_value) {
        sent_.front().on_value(value);
      }
    });
    if (!answer) {
      fail(Status(StatusCode::kUnavailable, where() + ": " + answer.error().to_string()));
      return false;
    }
    if (!answer->has_value()) return true;
    handle(std::move(**answer));
  }
  return false;
}

void RedisConnection::handle(RedisAnswer answer) {
  if (sent_.empty()) {
    return fail(Status(StatusCode::kUnavailable, where() + " answers what it was not asked"));
  }
  RedisOp op = std::move(sent_.front());
  sent_.pop_front();
  if (!op.has_ended) op.end(std::move(answer));
}

// ---- writing

/// The command that is `ahead` places behind the next one to be sent; null if there is none, or the
/// window is full.
RedisOp* RedisConnection::next_to_send(size_t ahead) {
  if (ahead < greeting_.size()) return &greeting_[ahead];
  if (state_ != State::kReady || ahead >= unsent_.size()) return nullptr;
  return sent_.size() + ahead < kWindow ? &unsent_[ahead] : nullptr;
}

void RedisConnection::write_some() {
  while (socket_.is_open() && next_to_send(0) != nullptr) {
    if (send_batch()) continue;
    if (socket_.is_open() && !wants_write_) watch(true);
    return;
  }
  if (socket_.is_open() && wants_write_) watch(false);
}

/// False when the socket takes no more, or is lost.
bool RedisConnection::send_batch() {
  SendParts parts;
  for (size_t ahead = 0; parts.has_room(); ++ahead) {
    const RedisOp* op = next_to_send(ahead);
    if (op == nullptr) break;
    parts.add(*op);
  }
  const ssize_t n = parts.send(socket_.get());
  if (n < 0) {
    if (errno == EINTR) return true;
    if (errno != EAGAIN) {
      fail(Status(StatusCode::kUnavailable,
                  "lost the connection to " + where() + ": " + std::strerror(errno)));
    }
    return false;
  }
  auto left = static_cast<size_t>(n);
  if (sent_.empty()) last_progress_ = now();
  while (left > 0) {
    std::deque<RedisOp>& queue = greeting_.empty() ? unsent_ : greeting_;
    RedisOp& op = queue.front();
    const size_t taken = std::min(left, op.size_bytes() - op.sent_bytes);
    op.sent_bytes += taken;
    left -= taken;
    if (op.sent_bytes < op.size_bytes()) break;
    op.obj.reset();  // it is the system's now
    sent_.push_back(std::move(op));
    queue.pop_front();
  }
  return true;
}

}  // namespace kvferry
