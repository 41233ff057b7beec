#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "runtime/control/tcp_channel.h"

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

void set_no_delay(int fd) {
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
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

UniqueFd tcp_accept(const UniqueFd& listener) {
  UniqueFd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket.is_open()) set_no_delay(socket.get());
  return socket;
}

Result<UniqueFd> tcp_connect(const std::string& host, uint16_t port, Duration timeout) {
  KVFERRY_ASSIGN_OR_RETURN(const sockaddr_in address, resolve(host, port));
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.is_open()) {
    return tl::unexpected(socket_error(StatusCode::kResourceExhausted, "no socket", errno));
  }
  const std::string what = "cannot connect to " + address_name(host, port);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(socket.get(), raw, sizeof(address)) != 0 && errno != EINPROGRESS) {
    return tl::unexpected(socket_error(StatusCode::kUnavailable, what, errno));
  }
  pollfd poll_fd{socket.get(), POLLOUT, 0};
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(timeout);
  const int ready = ::poll(&poll_fd, 1, static_cast<int>(wait.count()));
  if (ready == 0) {
    return make_error(StatusCode::kDeadlineExceeded,
                      what + ": no answer within " + std::to_string(wait.count()) + " ms");
  }
  int error = 0;
  socklen_t length = sizeof(error);
  ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) return tl::unexpected(socket_error(StatusCode::kUnavailable, what, error));
  set_no_delay(socket.get());
  return socket;
}

}  // namespace kvferry
