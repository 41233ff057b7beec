#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#include "runtime/control/tcp_channel.h"
#include "tests/support/eventually.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

/// A listener whose queue is full: who connects gets no answer until it is emptied.
class FullListener {
 public:
  FullListener() {
    EXPECT_EQ(::listen(socket_.get(), 0), 0);
    waiting_ = tcp_connect("127.0.0.1", port, std::chrono::seconds(20)).value();
  }
  /// Takes connections until there is one besides that which fills the queue.
  void make_room() {
    for (int taken = 0; taken < 2;) {
      if (tcp_accept(socket_).value().is_open()) ++taken;
    }
  }

 private:
  const UniqueFd socket_ = tcp_listen("127.0.0.1", 0).value();
  UniqueFd waiting_;

 public:
  const uint16_t port = tcp_local_port(socket_).value();
};

/// Is some socket of this machine waiting for an answer from that port?
bool is_asked_for(uint16_t port) {
  constexpr std::string_view kSynSent = "02";
  std::ifstream table("/proc/net/tcp");
  std::string line;
  std::getline(table, line);
  while (std::getline(table, line)) {
    std::istringstream fields(line);
    std::string number, own, asked, state;
    fields >> number >> own >> asked >> state;
    const std::string asked_port = asked.substr(asked.find(':') + 1);
    if (state == kSynSent && std::stoul(asked_port, nullptr, 16) == port) return true;
  }
  return false;
}

/// tcp_connect on a thread of its own.
class Connecting {
 public:
  Connecting(uint16_t port, Duration timeout)
      : thread_([this, port, timeout] {
          result_.emplace(tcp_connect("127.0.0.1", port, timeout));
          has_ended_ = true;
        }) {}
  /// Waits for the end, while the thread gets signals.
  const Result<UniqueFd>& interrupted_result() {
    EXPECT_TRUE(eventually([this] {
      ::pthread_kill(thread_.native_handle(), SIGUSR1);
      return has_ended_.load();
    }));
    return result();
  }
  bool has_ended() const { return has_ended_; }
  const Result<UniqueFd>& result() {
    thread_.join();
    return *result_;
  }

 private:
  std::optional<Result<UniqueFd>> result_;
  std::atomic<bool> has_ended_{false};
  std::thread thread_;
};

int option(const UniqueFd& socket, int level, int name) {
  int value = 0;
  socklen_t length = sizeof(value);
  EXPECT_EQ(::getsockopt(socket.get(), level, name, &value, &length), 0);
  return value;
}

TEST(TcpSocket, ErrorsNameTheAddress) {
  EXPECT_THAT(tcp_listen("no such host.invalid", 0), StatusIs(StatusCode::kInvalidArgument));
  const UniqueFd listener = tcp_listen("127.0.0.1", 0).value();
  const uint16_t port = tcp_local_port(listener).value();
  EXPECT_THAT(tcp_listen("127.0.0.1", port),
              StatusIs(StatusCode::kUnavailable, HasSubstr(std::to_string(port))));
  EXPECT_FALSE(tcp_accept(listener).value().is_open()) << "nobody waits";
}

TEST(TcpSocket, AConnectionWithoutAnAnswerEndsAtItsDeadlineAlthoughSignalsCome) {
  FullListener listener;
  struct sigaction ignore_it {};
  ignore_it.sa_handler = [](int) {};
  struct sigaction before {};
  ASSERT_EQ(::sigaction(SIGUSR1, &ignore_it, &before), 0);
  Connecting connecting(listener.port, std::chrono::milliseconds(300));
  EXPECT_THAT(connecting.interrupted_result(),
              StatusIs(StatusCode::kDeadlineExceeded,
                       HasSubstr(std::to_string(listener.port) + ": no answer within 300 ms")));
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST(TcpSocket, AnAnswerIsWaitedForHoweverLongTheTimeoutIs) {
  // 2^32 ms are 0 in an int, the longest duration has no point in time as its end.
  for (const Duration timeout :
       {Duration(std::chrono::milliseconds(int64_t{1} << 32)), Duration::max()}) {
    FullListener listener;
    Connecting connecting(listener.port, timeout);
    EXPECT_TRUE(eventually([&] { return connecting.has_ended() || is_asked_for(listener.port); }));
    if (!connecting.has_ended()) listener.make_room();
    EXPECT_THAT(connecting.result(), IsOk());
  }
}

TEST(TcpSocket, NoTimeAtAllIsADeadlineToo) {
  FullListener listener;
  EXPECT_THAT(tcp_connect("127.0.0.1", listener.port, Duration(-1)),
              StatusIs(StatusCode::kDeadlineExceeded));
}

/// A port that the system may also choose for who connects: it takes even ones for that, odd ones
/// for who listens.
uint16_t unused_port_to_connect_from() {
  for (;;) {
    const uint16_t port = tcp_local_port(tcp_listen("127.0.0.1", 0).value()).value() & 0xfffe;
    if (tcp_listen("127.0.0.1", port)) return port;
  }
}

TEST(TcpSocket, ConnectingToAPortThatNobodyListensOnIsUnavailableHoweverOften) {
  const uint16_t port = unused_port_to_connect_from();
  // Each attempt is made from another port, in time from the very port that it asks for.
  for (int i = 0; i < 40'000; ++i) {
    ASSERT_THAT(tcp_connect("127.0.0.1", port, std::chrono::seconds(5)),
                StatusIs(StatusCode::kUnavailable, HasSubstr(std::to_string(port))))
        << "attempt " << i;
  }
}

TEST(TcpSocket, BothEndsNoticeAHostThatVanishes) {
  const UniqueFd listener = tcp_listen("127.0.0.1", 0).value();
  const uint16_t port = tcp_local_port(listener).value();
  const UniqueFd connected = tcp_connect("127.0.0.1", port, std::chrono::seconds(20)).value();
  const UniqueFd accepted = tcp_accept(listener).value();
  for (const UniqueFd* socket : {&connected, &accepted}) {
    EXPECT_EQ(option(*socket, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_GT(option(*socket, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    EXPECT_LE(option(*socket, IPPROTO_TCP, TCP_USER_TIMEOUT), 60'000);
    EXPECT_LE(option(*socket, IPPROTO_TCP, TCP_KEEPIDLE), 60);
  }
}

}  // namespace
}  // namespace kvferry
