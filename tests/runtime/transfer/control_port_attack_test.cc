#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <mutex>

#include "runtime/telemetry/log_limit.h"
#include "tests/runtime/transfer/process_worker.h"
#include "tests/support/engine_pair.h"
#include "tests/support/eventually.h"
#include "tests/support/open_fds.h"
#include "tests/support/scripted_peer.h"
#include "tests/support/seeded_rng.h"

namespace kvferry {
namespace {

using std::chrono::seconds;

constexpr int kMaxHandshakes = 64;  // as in engine_core.cc
constexpr uint64_t kMayGrowBytes = 16U << 20;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kMemoryIsCounted = false;  // freed memory is kept to find later uses
#else
constexpr bool kMemoryIsCounted = true;
#endif

int num_attempts() {
  const char* given = std::getenv("KVFERRY_TEST_ATTEMPTS");
  return given == nullptr ? 2000 : std::atoi(given);
}

uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

class CountedLines final : public Logger {
 public:
  bool enabled(LogLevel level) const override { return level >= LogLevel::kWarn; }
  void log(LogLevel, std::string_view line) override {
    const std::lock_guard lock(mutex_);
    ++num_lines_;
    num_reasons_ += line.find("cause=") != std::string_view::npos ? 1 : 0;
  }
  int num_lines() const {
    const std::lock_guard lock(mutex_);
    return num_lines_;
  }
  int num_reasons() const {
    const std::lock_guard lock(mutex_);
    return num_reasons_;
  }

 private:
  mutable std::mutex mutex_;
  int num_lines_ = 0;
  int num_reasons_ = 0;
};

/// An engine that listens, strangers that attack its port, and a peer that fetches all the while.
class ControlPortAttackTest : public ::testing::Test {
 protected:
  ControlPortAttackTest() {
    server.emplace(options_of("prefill", &log));
    peer.emplace(options_of("decode", nullptr), server->port(), on_fault());
    EXPECT_TRUE(makes_progress());
    num_fds = count_open_fds();
  }
  void TearDown() override {
    EXPECT_TRUE(makes_progress());
    EXPECT_TRUE(eventually([&] { return server->peers().size() == 1; }));
    EXPECT_EQ(server->num_lost(), num_newcomers) << "a peer was lost for what strangers did";
    EXPECT_TRUE(peer->pause(seconds(20)));
    EXPECT_TRUE(eventually([&] { return server->stats().leases_active == 0; }));
    EXPECT_TRUE(eventually([&] { return count_open_fds() <= num_fds; })) << count_open_fds();
  }

  WorkerOptions options_of(const std::string& name, Logger* logger) const {
    WorkerOptions options;
    options.name = name;
    options.best_path = PeerClass::kSameProcess;
    options.silence_limit = seconds(5);
    options.handshake_timeout = seconds(5);
    options.transport = transport;
    options.logger = logger;
    return options;
  }
  static std::function<void(const std::string&)> on_fault() {
    return [](const std::string& fault) { ADD_FAILURE() << fault; };
  }
  bool makes_progress() {
    const int before = peer->num_verified();
    return eventually([&] { return peer->num_verified() >= before + 20; });
  }
  RawClient connect() const { return RawClient::connect(server->port()); }

  /// One of everything that a stranger may try.
  void attack() {
    switch (rng.below(7)) {
      case 0:
        connect();  // and leave
        return;
      case 1:
        connect().send_bytes(rng.bytes(1 + rng.below(3000)));
        return;
      case 2:
        connect().send_bytes(RawClient::framed(rng.bytes(1 + rng.below(3000))));
        return;
      case 3:
        return send_part();
      case 4:
        return announce_giant();
      case 5:
        return guess_token();
      default:
        return stall();
    }
  }
  void send_part() {
    const auto whole = RawClient::framed(encode(GreetingMessage{}).value());
    connect().send_bytes(std::span(whole).first(1 + rng.below(whole.size() - 1)));
  }
  void announce_giant() {
    RawClient client = connect();
    const uint64_t length = TcpChannel::kMaxStrangerBytes + 1 + rng.below(UINT32_MAX / 2);
    std::vector<std::byte> bytes;
    for (size_t i = 0; i < 4; ++i) bytes.push_back(static_cast<std::byte>(length >> (8 * i)));
    client.send_bytes(bytes);
    EXPECT_TRUE(client.is_ended_by_peer());
  }
  void guess_token() {
    ScriptedPeer stranger(transport, server->port(), "stranger");
    stranger.token() = "guess";
    if (!stranger.greet() || !stranger.say_hello()) return;  // too many strangers
    const auto refusal = stranger.client().receive_one<RefusalMessage>();
    if (refusal) {
      EXPECT_EQ(refusal->code, StatusCode::kPermissionDenied);
    }
  }
  /// One byte, and then nothing; some of these stay for a while.
  void stall() {
    stalled.push_back(connect());
    stalled.back().send_bytes(rng.bytes(1));
    if (stalled.size() > kMaxHandshakes / 2) stalled.pop_front();
  }

  SeededRng rng;
  CountedLines log;
  const std::shared_ptr<Transport> transport = make_transport("loopback").value();
  std::optional<ServingWorker> server;
  std::optional<FetchingWorker> peer;
  std::deque<RawClient> stalled;
  int num_newcomers = 0;  // that come and leave again
  size_t num_fds = 0;
};

TEST_F(ControlPortAttackTest, IsRefusedForAReasonAndLeavesNothingBehind) {
  const int attempts = num_attempts();
  uint64_t resident = 0;
  for (int i = 0; i < attempts; ++i) {
    if (i == attempts / 10) resident = resident_bytes();
    attack();
  }
  stalled.clear();
  const uint64_t after = resident_bytes();
  if (kMemoryIsCounted) {
    EXPECT_LT(after, resident + kMayGrowBytes);
  }
  EXPECT_GE(log.num_reasons(), LogLimit::kLines);
  EXPECT_LT(log.num_lines(), attempts / 10) << "strangers fill the log";
}

TEST_F(ControlPortAttackTest, SilentStrangersKeepNobodyOut) {
  for (int i = 0; i < kMaxHandshakes; ++i) {
    stalled.push_back(connect());
    EXPECT_TRUE(stalled.back().receive_one<GreetingMessage>());
  }
  num_newcomers = 1;
  EXPECT_TRUE(ScriptedPeer(transport, server->port(), "newcomer").shake_hands());
  const auto refusal = stalled.front().receive_one<RefusalMessage>();
  ASSERT_TRUE(refusal.has_value()) << "the oldest gives way";
  EXPECT_EQ(refusal->code, StatusCode::kUnavailable);
  EXPECT_TRUE(stalled.front().is_ended_by_peer());
  stalled.clear();
}

TEST_F(ControlPortAttackTest, AThousandAtOnceKeepNobodyOut) {
  constexpr rlim_t kConnections = 1000;
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_cur < kConnections + 200) GTEST_SKIP() << "this system gives few descriptors";
  for (rlim_t i = 0; i < kConnections; ++i) {
    stalled.push_back(connect());
    stalled.back().send_bytes(rng.bytes(1));
  }
  num_newcomers = 1;
  FetchingWorker newcomer(options_of("newcomer", nullptr), server->port(), on_fault());
  EXPECT_TRUE(eventually([&] { return newcomer.num_verified() > 20; }));
  EXPECT_TRUE(makes_progress());
  stalled.clear();
  EXPECT_TRUE(newcomer.pause(seconds(20)));
}

}  // namespace
}  // namespace kvferry
