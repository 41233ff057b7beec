#include "runtime/control/tcp_listener.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <map>
#include <optional>

#include "runtime/control/tcp_channel.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

/// Runs what a test tells it to, when it tells it to.
class SteppedExecutor final : public Executor, public Clock {
 public:
  void post(Task task) override { task(); }
  void post_at(TimePoint when, Task task) override { timers.emplace_back(when, std::move(task)); }
  Status watch_fd(int fd, bool, Task on_ready) override {
    if (refuses_watches) return Status(StatusCode::kResourceExhausted, "no watch");
    watches[fd] = std::move(on_ready);
    return {};
  }
  void unwatch_fd(int fd) override { watches.erase(fd); }
  Status add_progress_source(ProgressSource*) override { return {}; }
  void remove_progress_source(ProgressSource*) override {}
  const Clock& clock() const override { return *this; }
  bool is_current() const override { return true; }
  TimePoint now() const override { return TimePoint(std::chrono::hours(1)); }

  void run_timer() {
    const Task task = std::move(timers.front().second);
    timers.pop_front();
    task();
  }

  std::map<int, Task> watches;
  std::deque<std::pair<TimePoint, Task>> timers;
  bool refuses_watches = false;
};

/// While it lives, no connection can be taken from that descriptor; those that come wait. (A
/// process without descriptors would do as well, but UBSan needs some.)
class Starvation {
 public:
  explicit Starvation(int fd) : fd_(fd), kept_(::dup(fd)) {
    const UniqueFd no_socket(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(::dup2(no_socket.get(), fd), fd);
  }
  ~Starvation() { EXPECT_EQ(::dup2(kept_.get(), fd_), fd_); }
  Starvation(const Starvation&) = delete;
  Starvation& operator=(const Starvation&) = delete;

 private:
  const int fd_;
  const UniqueFd kept_;
};

class TcpListenerTest : public ::testing::Test {
 protected:
  TcpListenerTest() {
    UniqueFd socket = tcp_listen("127.0.0.1", 0).value();
    fd = socket.get();
    port = tcp_local_port(socket).value();
    listener.emplace(std::move(socket), executor,
                     TcpListener::Events{
                         .on_connection =
                             [this](UniqueFd connection) {
                               taken.push_back(std::move(connection));
                               if (closes_at_once) listener->close();
                             },
                         .on_starved = [this](const Status& status) { starved.push_back(status); },
                     });
    EXPECT_THAT(listener->start(), IsOk());
  }

  void connect() {
    clients.push_back(tcp_connect("127.0.0.1", port, std::chrono::seconds(20)).value());
  }
  bool is_watched() const { return executor.watches.contains(fd); }
  /// As the poller does while a connection waits.
  void socket_is_readable() {
    ASSERT_TRUE(is_watched());
    const Executor::Task on_ready = executor.watches.at(fd);
    on_ready();
  }

  SteppedExecutor executor;
  std::optional<TcpListener> listener;
  int fd = -1;
  uint16_t port = 0;
  std::vector<UniqueFd> clients;
  std::vector<UniqueFd> taken;
  std::vector<Status> starved;
  bool closes_at_once = false;
};

TEST_F(TcpListenerTest, WhenNothingCanBeTakenItLooksAwayForAWhileAndSaysSoOnce) {
  connect();
  {
    const Starvation starvation(fd);
    for (int i = 0; i < 3; ++i) {
      socket_is_readable();
      EXPECT_FALSE(is_watched()) << "the waiting connection would be reported again at once";
      ASSERT_EQ(executor.timers.size(), 1U);
      EXPECT_EQ(executor.timers[0].first, executor.now() + TcpListener::kPause);
      executor.run_timer();
    }
  }
  ASSERT_EQ(starved.size(), 1U);
  EXPECT_THAT(starved[0], StatusIs(StatusCode::kResourceExhausted));
  EXPECT_EQ(starved[0].native_code(), ENOTSOCK);
  EXPECT_TRUE(taken.empty());

  socket_is_readable();
  EXPECT_EQ(taken.size(), 1U) << "it was kept waiting, not lost";
  EXPECT_TRUE(is_watched());

  connect();
  const Starvation starvation(fd);
  socket_is_readable();
  EXPECT_EQ(starved.size(), 2U) << "another time is said again";
}

TEST_F(TcpListenerTest, AFloodOfConnectionsLeavesTheExecutorToOthers) {
  for (int i = 0; i < TcpListener::kAcceptsPerTurn + 3; ++i) connect();
  socket_is_readable();
  EXPECT_EQ(taken.size(), static_cast<size_t>(TcpListener::kAcceptsPerTurn));
  socket_is_readable();
  EXPECT_EQ(taken.size(), clients.size());
}

TEST_F(TcpListenerTest, ItMayBeClosedByWhatItCalls) {
  connect();
  connect();
  closes_at_once = true;
  socket_is_readable();
  EXPECT_EQ(taken.size(), 1U);
  EXPECT_FALSE(is_watched());
}

TEST_F(TcpListenerTest, ItsPauseMayOutliveIt) {
  connect();
  {
    const Starvation starvation(fd);
    socket_is_readable();
  }
  listener.reset();
  executor.run_timer();
  EXPECT_FALSE(is_watched());
}

TEST_F(TcpListenerTest, APauseGoesOnWhileThePollerTakesNoWatch) {
  connect();
  {
    const Starvation starvation(fd);
    socket_is_readable();
  }
  executor.refuses_watches = true;
  executor.run_timer();
  ASSERT_EQ(executor.timers.size(), 1U);
  executor.refuses_watches = false;
  executor.run_timer();
  socket_is_readable();
  EXPECT_EQ(taken.size(), 1U);
}

}  // namespace
}  // namespace kvferry
