#include "backends/remote/redis_connection.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

namespace kvferry {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstDelay{10};
constexpr milliseconds kLongestDelay{1000};

std::string text_of(Duration duration) {
  return std::to_string(std::chrono::duration_cast<milliseconds>(duration).count()) + " ms";
}

}  // namespace

std::shared_ptr<RedisConnection> RedisConnection::create(const BackendContext& context,
                                                         const RemoteConfig& store) {
  return std::shared_ptr<RedisConnection>(new RedisConnection(context, store));
}

RedisConnection::RedisConnection(const BackendContext& context, const RemoteConfig& store)
    : context_(context), store_(store), random_(std::random_device()()) {}

// ---- making the connection

void RedisConnection::connect() {
  ++attempt_;
  state_ = State::kResolving;
  run_at(now() + store_.timeout, &RedisConnection::give_up_connecting);
  const Addresses known = resolve(store_, false);
  if (!known.found.empty()) return connect_to(known);
  is_resolving_ = true;
  context_.work_pool->submit([self = shared_from_this(), attempt = attempt_]() mutable {
    Addresses found = resolve(self->store_, true);
    Executor& executor = *self->context_.executor;
    executor.post([self = std::move(self), attempt, found = std::move(found)] {
      self->is_resolving_ = false;
      if (self->state_ == State::kClosed) {
        std::exchange(self->on_closed_, nullptr)();
      } else if (self->attempt_ == attempt && self->state_ == State::kResolving) {
        self->connect_to(found);
      }
    });
  });
}

/// `may_ask` name servers, which may take long; else only what is an address already.
RedisConnection::Addresses RedisConnection::resolve(const RemoteConfig& store, bool may_ask) {
  Addresses addresses;
  if (!store.path.empty()) {
    Address address;
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    store.path.copy(local.sun_path, sizeof(local.sun_path) - 1);
    std::memcpy(&address.bytes, &local, sizeof(local));
    address.size = sizeof(local);
    address.family = AF_UNIX;
    addresses.found.push_back(address);
    return addresses;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (may_ask ? AI_ADDRCONFIG : AI_NUMERICHOST);
  addrinfo* list = nullptr;
  const int error =
      ::getaddrinfo(store.host.c_str(), std::to_string(store.port).c_str(), &hints, &list);
  if (error != 0) {
    addresses.error = ::gai_strerror(error);
    return addresses;
  }
  for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
    Address address;
    std::memcpy(&address.bytes, each->ai_addr, each->ai_addrlen);
    address.size = each->ai_addrlen;
    address.family = each->ai_family;
    addresses.found.push_back(address);
  }
  ::freeaddrinfo(list);
  return addresses;
}

void RedisConnection::connect_to(const Addresses& addresses) {
  if (addresses.found.empty()) {
    return fail(Status(StatusCode::kUnavailable,
                       "cannot find the host of " + where() + ": " + addresses.error));
  }
  addresses_ = addresses.found;
  next_address_ = 0;
  connect_next();
}

void RedisConnection::connect_next() {
  state_ = State::kConnecting;
  const Address& address = addresses_[next_address_++];
  socket_ = UniqueFd(::socket(address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket_.is_open()) {
    return fail(Status::native(StatusCode::kUnavailable, ErrorDomain::kErrno, errno,
                               "no socket for " + where() + ": " + std::strerror(errno)));
  }
  if (address.family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  const int outcome =
      ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.size);
  const int error = outcome == 0 ? 0 : errno;
  if (error == 0) return greet();
  if (error == EINPROGRESS) return watch(true);
  end_attempt(error);
}

void RedisConnection::finish_connect() {
  int error = 0;
  socklen_t size = sizeof(error);
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) return greet();
  context_.executor->unwatch_fd(socket_.get());
  wants_write_ = false;
  end_attempt(error);
}

void RedisConnection::end_attempt(int error) {
  socket_.reset();
  if (next_address_ < addresses_.size()) return connect_next();
  fail(Status::native(StatusCode::kUnavailable, ErrorDomain::kErrno, error,
                      "cannot connect to " + where() + ": " + std::strerror(error)));
}

void RedisConnection::greet() {
  state_ = State::kGreeting;
  reader_ = std::make_unique<RedisReplyReader>();
  if (!store_.username.empty()) {
    add_greeting(redis_command({"AUTH", store_.username, store_.password}), "AUTH", true);
  } else if (!store_.password.empty()) {
    add_greeting(redis_command({"AUTH", store_.password}), "AUTH", true);
  }
  if (store_.database != 0) {
    add_greeting(redis_command({"SELECT", std::to_string(store_.database)}), "SELECT", false);
  }
  // Without a password that it wants, a server calls a large value a protocol error.
  add_greeting(redis_command({"PING"}), "PING", false);
  watch(true);
}

void RedisConnection::add_greeting(std::string command, const std::string& what, bool is_secret) {
  RedisOp op;
  op.head = std::move(command);
  op.expiry = TimePoint::max();
  op.end = [this, what, is_secret](const Result<RedisAnswer>& answer) {
    if (!answer) return;  // the connection is lost as it is
    if (answer->kind == RedisAnswer::Kind::kError) {
      // Some errors repeat the command, and with it the password.
      const std::string text =
          is_secret ? answer->text.substr(0, answer->text.find(' ')) : answer->text;
      const StatusCode code = redis_error(answer->text).code();
      fail(Status(code == StatusCode::kUnavailable ? code : StatusCode::kPermissionDenied,
                  where() + " refuses " + what + ": " + text));
    } else if (greeting_.empty() && sent_.empty()) {
      become_ready();
    }
  };
  greeting_.push_back(std::move(op));
}

void RedisConnection::become_ready() {
  state_ = State::kReady;
  num_failures_ = 0;
  ++attempt_;  // the timer of connecting is void
  last_progress_ = now();
  watch(false);
  write_some();
}

// ---- commands

void RedisConnection::submit(RedisOp op) {
  if (state_ == State::kWaiting) return op.end(make_error(last_error_));
  if (state_ == State::kClosed) {
    return op.end(make_error(StatusCode::kCancelled, "the backend is closed"));
  }
  if (op.deadline <= now()) {
    return op.end(make_error(StatusCode::kDeadlineExceeded, "the deadline had passed before"));
  }
  op.expiry = now() + store_.timeout;
  const TimePoint end = std::min(op.expiry, op.deadline);
  unsent_.push_back(std::move(op));
  arm_sweep(end);
}

void RedisConnection::flush() {
  if (state_ == State::kReady && !wants_write_) write_some();
}

void RedisConnection::close(std::function<void()> on_closed) {
  std::vector<RedisOp> ops = take_all();
  state_ = State::kClosed;
  ++attempt_;
  end_all(ops, Status(StatusCode::kCancelled, "the backend was closed"));
  if (is_resolving_) {
    on_closed_ = std::move(on_closed);
  } else {
    on_closed();
  }
}

// ---- losing the connection

void RedisConnection::fail(const Status& why) {
  std::vector<RedisOp> ops = take_all();
  state_ = State::kWaiting;
  last_error_ = why;
  ++attempt_;
  const auto longest = std::min(kFirstDelay * (1 << std::min(num_failures_++, 10)), kLongestDelay);
  const auto jitter = std::uniform_int_distribution<int64_t>(longest.count() / 2, longest.count());
  run_at(now() + milliseconds(std::uniform_int_distribution<int64_t>(jitter)(random_)),
         &RedisConnection::retry);
  end_all(ops, why);
}

std::vector<RedisOp> RedisConnection::take_all() {
  if (socket_.is_open()) {
    context_.executor->unwatch_fd(socket_.get());
    socket_.reset();
  }
  wants_write_ = false;
  reader_.reset();
  std::vector<RedisOp> ops;
  for (auto* queue : {&greeting_, &sent_, &unsent_}) {
    for (RedisOp& op : *queue) ops.push_back(std::move(op));
    queue->clear();
  }
  return ops;
}

void RedisConnection::end_all(const std::vector<RedisOp>& ops, const Status& why) {
  for (const RedisOp& op : ops) {
    if (!op.has_ended) op.end(make_error(why));
  }
}

void RedisConnection::run_at(TimePoint when, void (RedisConnection::*task)(uint64_t)) {
  context_.executor->post_at(when, [weak = weak_from_this(), task, attempt = attempt_] {
    if (const auto self = weak.lock()) (self.get()->*task)(attempt);
  });
}

void RedisConnection::retry(uint64_t attempt) {
  if (attempt != attempt_ || state_ != State::kWaiting) return;
  if (is_resolving_) return fail(last_error_);  // one question to the name servers at a time
  connect();
}

void RedisConnection::give_up_connecting(uint64_t attempt) {
  if (attempt != attempt_ || state_ == State::kReady || state_ == State::kClosed) return;
  fail(Status(StatusCode::kUnavailable,
              where() + " did not answer a connection within " + text_of(store_.timeout)));
}

void RedisConnection::arm_sweep(TimePoint when) {
  if (when >= next_sweep_) return;
  next_sweep_ = when;
  context_.executor->post_at(when, [weak = weak_from_this(), when] {
    const auto self = weak.lock();
    if (self && self->next_sweep_ == when) self->sweep();
  });
}

void RedisConnection::sweep() {
  next_sweep_ = TimePoint::max();
  if (state_ == State::kClosed) return;
  const TimePoint time = now();
  const bool is_silent = !sent_.empty() && time - last_progress_ >= store_.timeout;
  const bool is_stuck =
      !unsent_.empty() && unsent_.front().sent_bytes > 0 && unsent_.front().expiry <= time;
  if (state_ == State::kReady && (is_silent || is_stuck)) {
    return fail(Status(StatusCode::kUnavailable,
                       where() + " has been silent for " + text_of(store_.timeout)));
  }
  std::vector<RedisOp> ended;
  sweep_queue(unsent_, time, ended);
  std::erase_if(unsent_, [](const RedisOp& op) { return op.has_ended; });
  sweep_queue(sent_, time, ended);
  for (const auto* queue : {&unsent_, &sent_}) {
    for (const RedisOp& op : *queue) {
      if (!op.has_ended) arm_sweep(std::min(op.expiry, op.deadline));
    }
  }
  if (!sent_.empty()) arm_sweep(last_progress_ + store_.timeout);
  for (RedisOp& op : ended) {
    const bool is_callers = op.deadline <= time;
    op.end(make_error(is_callers ? StatusCode::kDeadlineExceeded : StatusCode::kUnavailable,
                      is_callers ? "the deadline passed before the server's answer"
                                 : where() + " did not answer within " + text_of(store_.timeout)));
  }
}

/// Moves what ends of `queue` to `ended`; the rest of it stays for the answers that will come.
void RedisConnection::sweep_queue(std::deque<RedisOp>& queue, TimePoint time,
                                  std::vector<RedisOp>& ended) {
  for (RedisOp& op : queue) {
    const bool is_half_sent = op.sent_bytes > 0 && op.sent_bytes < op.size_bytes();
    if (op.has_ended || is_half_sent || std::min(op.expiry, op.deadline) > time) continue;
    const size_t sent_bytes = op.sent_bytes;
    ended.push_back(std::move(op));
    op = RedisOp();
    op.has_ended = true;
    op.sent_bytes = sent_bytes;
  }
}

}  // namespace kvferry
