#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "runtime/control/tcp_channel.h"
#include "runtime/control/tcp_listener.h"
#include "runtime/steady_clock.h"

namespace kvferry {
namespace {

Status socket_error(StatusCode code, const std::string& what, int error) {
  return Status::native(code, ErrorDomain::kErrno, error, what + ": " + std::strerror(error));
}

std::string address_name(const std::string& host, uint16_t port) {
  return host + ":" + std::to_string(port);
}

Result<sockaddr_in> resolve(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return make_error(StatusCode::kInvalidArgument,
                      "host '" + host + "' does not resolve: " + ::gai_strerror(error));
  }
  sockaddr_in address{};
  std::memcpy(&address, found->ai_addr, sizeof(address));
  ::freeaddrinfo(found);
  address.sin_port = htons(port);
  return address;
}

// A host that vanishes says nothing: a connection whose other end has not answered for about that
// long is ended by the kernel. A stopped process answers by its kernel, until that can hold no
// more of what it is sent.
constexpr int kKeepAliveIdleS = 10;
constexpr int kKeepAliveIntervalS = 5;
constexpr int kKeepAliveProbes = 4;
constexpr int kUnansweredMs = 1000 * (kKeepAliveIdleS + kKeepAliveIntervalS * kKeepAliveProbes);

void configure(int fd) {
  const auto set = [fd](int level, int option, int value) {
    ::setsockopt(fd, level, option, &value, sizeof(value));
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleS);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalS);
  set(IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, kUnansweredMs);  // keepalive does not count unsent bytes
}

bool is_lost_connection(int error) {
  return error == EINTR || error == ECONNABORTED || error == EPROTO || error == ENETDOWN ||
         error == ENETUNREACH || error == EHOSTDOWN || error == EHOSTUNREACH;
}

Status wait_until_connected(int fd, Duration timeout, const std::string& what) {
  const SteadyClock clock;
  const TimePoint start = clock.now();
  const TimePoint deadline =
      timeout < TimePoint::max() - start ? start + timeout : TimePoint::max();
  for (;;) {
    const Duration left = std::max(deadline - clock.now(), Duration::zero());
    const auto left_ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    pollfd poll_fd{fd, POLLOUT, 0};
    const int ready = ::poll(&poll_fd, 1, static_cast<int>(std::min<int64_t>(left_ms, INT_MAX)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return socket_error(StatusCode::kUnavailable, what, errno);
    if (clock.now() >= deadline) break;
  }
  const auto timeout_ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
  return Status(StatusCode::kDeadlineExceeded,
                what + ": no answer within " + std::to_string(timeout_ms) + " ms");
}

/// The system may choose the port that nobody listens on as our own, and connect us to ourselves.
bool is_connected_to_itself(int fd) {
  const auto name_by = [fd](auto get_name) {
    sockaddr_in address{};
    socklen_t length = sizeof(address);
    const int error = get_name(fd, reinterpret_cast<sockaddr*>(&address), &length);
    return std::pair(error == 0 ? address.sin_port : in_port_t{0}, address.sin_addr.s_addr);
  };
  const auto own = name_by(::getsockname);
  return own.first != 0 && own == name_by(::getpeername);
}

}  // namespace

Result<UniqueFd> tcp_listen(const std::string& host, uint16_t port) {
  KVFERRY_ASSIGN_OR_RETURN(const sockaddr_in address, resolve(host, port));
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.is_open()) {
    return tl::unexpected(socket_error(StatusCode::kResourceExhausted, "no socket", errno));
  }
  const int one = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(socket.get(), raw, sizeof(address)) != 0 || ::listen(socket.get(), SOMAXCONN) != 0) {
    const StatusCode code =
        errno == EACCES ? StatusCode::kPermissionDenied : StatusCode::kUnavailable;
    return tl::unexpected(
        socket_error(code, "cannot listen on " + address_name(host, port), errno));
  }
  return socket;
}

Result<uint16_t> tcp_local_port(const UniqueFd& socket) {
  sockaddr_in address{};
  socklen_t length = sizeof(address);
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return tl::unexpected(socket_error(StatusCode::kInternal, "getsockname", errno));
  }
  return ntohs(address.sin_port);
}

Result<UniqueFd> tcp_accept(const UniqueFd& listener) {
  for (;;) {
    UniqueFd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket.is_open()) {
      configure(socket.get());
      return socket;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return UniqueFd();
    if (is_lost_connection(errno)) continue;
    return tl::unexpected(
        socket_error(StatusCode::kResourceExhausted, "cannot take a waiting connection", errno));
  }
}

Result<UniqueFd> tcp_connect(const std::string& host, uint16_t port, Duration timeout) {
  KVFERRY_ASSIGN_OR_RETURN(const sockaddr_in address, resolve(host, port));
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.is_open()) {
    return tl::unexpected(socket_error(StatusCode::kResourceExhausted, "no socket", errno));
  }
  const std::string what = "cannot connect to " + address_name(host, port);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  // An interrupted connect goes on like one that would block.
  if (::connect(socket.get(), raw, sizeof(address)) != 0 && errno != EINPROGRESS &&
      errno != EINTR) {
    return tl::unexpected(socket_error(StatusCode::kUnavailable, what, errno));
  }
  KVFERRY_RETURN_IF_ERROR(wait_until_connected(socket.get(), timeout, what));
  int error = 0;
  socklen_t length = sizeof(error);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
  if (error == 0 && is_connected_to_itself(socket.get())) error = ECONNREFUSED;
  if (error != 0) return tl::unexpected(socket_error(StatusCode::kUnavailable, what, error));
  configure(socket.get());
  return socket;
}

// ---- TcpListener

TcpListener::TcpListener(UniqueFd socket, Executor& executor, Events events)
    : socket_(std::move(socket)), executor_(executor), events_(std::move(events)) {}

TcpListener::~TcpListener() {
  *self_ = nullptr;
  close();
}

Status TcpListener::start() {
  return executor_.watch_fd(socket_.get(), false, [this] { accept_waiting(); });
}

void TcpListener::close() {
  if (!socket_.is_open()) return;
  executor_.unwatch_fd(socket_.get());
  socket_.reset();
}

void TcpListener::accept_waiting() {
  for (int i = 0; i < kAcceptsPerTurn && socket_.is_open(); ++i) {
    Result<UniqueFd> connection = tcp_accept(socket_);
    if (!connection) {
      if (!std::exchange(is_starved_, true)) events_.on_starved(connection.error());
      look_away();
      return;
    }
    if (!connection->is_open()) return;
    is_starved_ = false;
    events_.on_connection(std::move(connection).value());
  }
}

void TcpListener::look_away() {
  if (!socket_.is_open()) return;
  executor_.unwatch_fd(socket_.get());
  executor_.post_at(executor_.clock().now() + kPause, [self = self_] {
    if (*self != nullptr) (*self)->look_again();
  });
}

void TcpListener::look_again() {
  if (!socket_.is_open()) return;
  if (!start().is_ok()) look_away();  // the poller may lack memory just as well
}

}  // namespace kvferry
