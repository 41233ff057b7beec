#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <thread>

#include "core/unique_fd.h"
#include "tests/backends/remote/remote_rig.h"
#include "tests/support/eventually.h"
#include "tests/support/status_matchers.h"
#include "workload/processes/server_process.h"

namespace kvferry {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string name_of(int number) { return "kvferry:" + contract_key(number).to_string(); }

class RedisStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    server = RedisServer::start();
    if (!server) GTEST_SKIP() << "redis-server is not installed (scripts/setup test)";
  }
  std::unique_ptr<RedisServer> server;
};

// ---- values that are not what they should be

TEST_F(RedisStoreTest, BrokenValuesAreSaidAndCounted) {
  RemoteRig rig(server->tcp_url());
  for (int number = 0; number < 5; ++number) ASSERT_THAT(rig.put(number), IsOk());
  server->command({"SET", name_of(0), "something else"});
  server->command({"SETRANGE", name_of(1), "70", "x"});        // in the header
  server->command({"SETRANGE", name_of(2), "0", "KVFCHUNX"});  // another magic
  server->command({"DEL", name_of(3)});
  server->command({"RPUSH", name_of(3), "a list"});
  for (int number = 0; number < 4; ++number) {
    EXPECT_THAT(rig.get(number), StatusIs(StatusCode::kDataLoss)) << number;
  }
  EXPECT_TRUE(rig.get(4).value());
  EXPECT_EQ(rig.metrics.count("data_loss"), 4);
  EXPECT_TRUE(eventually([&] { return server->command({"DBSIZE"}) == "1"; }));
}

TEST_F(RedisStoreTest, CutValueIsNotServed) {
  RemoteRig rig(server->unix_url());
  ASSERT_THAT(rig.put(1), IsOk());
  server->command({"EVAL",
                   "return redis.call('set', KEYS[1], "
                   "string.sub(redis.call('get', KEYS[1]), 1, -2))",
                   "1", name_of(1)});
  EXPECT_THAT(rig.get(1), StatusIs(StatusCode::kDataLoss));
  EXPECT_EQ(rig.metrics.count("data_loss"), 1);
}

TEST_F(RedisStoreTest, FlippedBitIsNotServed) {
  RemoteRig rig(server->tcp_url());
  ASSERT_THAT(rig.put(1), IsOk());
  server->command({"SETRANGE", name_of(1), "40000", "?"});
  EXPECT_FALSE(rig.backend->get_blocking(contract_key(1)));
  EXPECT_FALSE(rig.backend->contains(contract_key(1)));
}

// ---- servers that refuse

TEST(RedisRefusal, WrongPasswordIsSaidAndNotShown) {
  const auto server = RedisServer::start({"--requirepass", "right-one"});
  if (!server) GTEST_SKIP() << "redis-server is not installed (scripts/setup test)";
  RemoteRig rig("redis://:wrong-one@127.0.0.1:" + std::to_string(server->port()));
  EXPECT_THAT(rig.put(1),
              StatusIs(StatusCode::kPermissionDenied,
                       AllOf(HasSubstr("refuses AUTH: WRONGPASS"), Not(HasSubstr("wrong-one")))));
  RemoteRig without(server->tcp_url());
  EXPECT_THAT(without.put(1), StatusIs(StatusCode::kPermissionDenied, HasSubstr("NOAUTH")));
  RemoteOptions options = RemoteRig::options_of(server->tcp_url());
  options.store.password = "right-one";
  RemoteRig with(options);
  EXPECT_THAT(with.put(1), IsOk());
}

TEST_F(RedisStoreTest, UserAndDatabaseAreSelected) {
  server->command({"ACL", "SETUSER", "ann", "on", ">secret", "~*", "+@all"});
  RemoteRig rig("redis://ann:secret@127.0.0.1:" + std::to_string(server->port()) + "/5");
  EXPECT_THAT(rig.put(1), IsOk());
  EXPECT_EQ(server->command({"-n", "5", "DBSIZE"}), "1");
  EXPECT_EQ(server->command({"DBSIZE"}), "0");
}

TEST(RedisRefusal, FullServerFailsThePut) {
  const auto server =
      RedisServer::start({"--maxmemory", "4mb", "--maxmemory-policy", "noeviction"});
  if (!server) GTEST_SKIP() << "redis-server is not installed (scripts/setup test)";
  RemoteRig rig(server->tcp_url());
  Status status;
  int number = 0;
  for (; number < 64 && status.is_ok(); ++number) status = rig.put(number);
  EXPECT_THAT(status, StatusIs(StatusCode::kResourceExhausted, HasSubstr("OOM")));
  EXPECT_FALSE(rig.backend->contains(contract_key(number - 1)));
  EXPECT_TRUE(rig.get(0).value());
}

TEST_F(RedisStoreTest, QueueIsBounded) {
  RemoteOptions options = RemoteRig::options_of(server->tcp_url());
  options.max_queued = 4;
  RemoteRig rig(options);
  const auto ends = rig.begin_get({0, 1, 2, 3, 4}).wait(RemoteRig::kPatience).value();
  EXPECT_THAT(ends[0], StatusIs(StatusCode::kResourceExhausted, HasSubstr("max_queued")));
  EXPECT_FALSE(rig.get(0).value());
}

// ---- servers that die, stop or were never there

TEST(RedisAbsence, IsUnavailableAndSoonSaidAtOnce) {
  const TempDir directory;
  RemoteOptions options = RemoteRig::options_of("unix://" + directory.file("nobody.sock"));
  options.breaker_cooldown = std::chrono::hours(1);
  RemoteRig rig(options);
  for (int i = 0; i < options.breaker_failures; ++i) {
    EXPECT_THAT(rig.put(1), StatusIs(StatusCode::kUnavailable, HasSubstr("cannot connect")));
  }
  // The breaker ends an item within the call.
  EXPECT_EQ(rig.begin_get({1, 2}).num_ended(), 2);
  EXPECT_THAT(rig.get(1), StatusIs(StatusCode::kUnavailable, HasSubstr("left alone")));
  EXPECT_EQ(rig.metrics.count("breaker_opened"), 1);
  EXPECT_THAT(rig.log.lines(), HasSubstr("remote_unavailable store=unix://"));
}

TEST_F(RedisStoreTest, StoppedServerTimesOutAndIsFoundAgain) {
  RemoteOptions options = RemoteRig::options_of(server->tcp_url());
  options.store.timeout = milliseconds(100);
  options.breaker_failures = 2;
  options.breaker_cooldown = milliseconds(20);
  RemoteRig rig(options);
  ASSERT_TRUE(eventually([&] { return rig.put(1).is_ok(); }));
  server->pause();
  EXPECT_THAT(rig.get(1), StatusIs(StatusCode::kUnavailable));
  EXPECT_TRUE(eventually([&] {
    rig.get(1).error().ignore("until the breaker opens");
    return rig.metrics.count("breaker_opened") > 0;
  }));
  server->resume();
  EXPECT_TRUE(eventually([&] {
    const auto obj = rig.get(1);
    return obj && *obj && expect_chunk(make_contract_chunk(1), **obj).is_ok();
  }));
  EXPECT_EQ(rig.allocator.used(), 0);
}

TEST_F(RedisStoreTest, KilledUnderLoadNothingIsWrongAndItComesBack) {
  RemoteOptions options = RemoteRig::options_of(server->unix_url());
  options.store.connections = 2;
  options.breaker_cooldown = milliseconds(10);
  RemoteRig rig(options);
  std::atomic<bool> stops{false};
  std::atomic<int> num_hits{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 2; ++thread) {
    threads.emplace_back([&, thread] {
      const std::vector<int> numbers = {thread * 8, thread * 8 + 1, thread * 8 + 4, thread * 8 + 7};
      while (!stops.load()) {
        const auto puts = rig.begin_put(numbers);
        const auto gets = rig.begin_get(numbers).wait(RemoteRig::kPatience);
        ASSERT_THAT(puts.wait(RemoteRig::kPatience), IsOk());
        ASSERT_THAT(gets, IsOk());
        for (size_t i = 0; i < numbers.size(); ++i) {
          if (!(*gets)[i] || !*(*gets)[i]) continue;
          EXPECT_THAT(expect_chunk(make_contract_chunk(numbers[i]), **(*gets)[i]), IsOk());
          num_hits.fetch_add(1);
        }
      }
    });
  }
  for (int round = 0; round < 3; ++round) {
    const int before = num_hits.load();
    EXPECT_TRUE(eventually([&] { return num_hits.load() > before + 20; }));
    ASSERT_TRUE(server->restart());
  }
  const int before = num_hits.load();
  EXPECT_TRUE(eventually([&] { return num_hits.load() > before + 20; }));
  stops.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(rig.metrics.count("data_loss"), 0);
}

/// Is polite to the greeting of each connection, answers the next commands with the same bytes
/// whatever they are, and hangs up.
class RudeServer {
 public:
  explicit RudeServer(std::string answer)
      : answer_(std::move(answer)), listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
    ::listen(listener_.get(), 16);
    thread_ = std::thread([this] { serve(); });
  }
  ~RudeServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

  std::string path() const { return directory_.file("rude.sock"); }

 private:
  void serve() {
    for (;;) {
      const UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!peer.is_open()) return;
      answer(peer.get(), "+PONG\r\n");
      answer(peer.get(), answer_);
    }
  }

  static void answer(int fd, const std::string& text) {
    std::array<char, 4096> question{};
    if (::recv(fd, question.data(), question.size(), 0) <= 0) return;
    ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  }

  const TempDir directory_;
  const std::string answer_;
  UniqueFd listener_;
  std::thread thread_;
};

TEST(RedisRudeness, EveryItemEndsUnavailable) {
  struct Row {
    std::string answer;
    std::string what;
  };
  const std::vector<Row> rows = {
      {"$100000\r\n" + std::string(50'000, 'x'), "closed by the server"},
      {"$5\r\nab", "closed by the server"},
      {"", "closed by the server"},
      {"hello\r\n", "no answer"},
      {"$-5\r\n", ""},
  };
  for (const Row& row : rows) {
    const RudeServer server(row.answer);
    RemoteRig rig("unix://" + server.path());
    const auto ends = rig.begin_get({0, 1, 2}).wait(RemoteRig::kPatience).value();
    for (const auto& end : ends) {
      EXPECT_THAT(end, StatusIs(StatusCode::kUnavailable, HasSubstr(row.what)));
    }
    EXPECT_EQ(rig.allocator.used(), 0);
  }
}

TEST(RedisRudeness, AnswersOfAnotherKindAreErrors) {
  const RudeServer server(":1\r\n*2\r\n$1\r\na\r\n:5\r\n+OK\r\n");
  RemoteRig rig("unix://" + server.path());
  const auto ends = rig.begin_get({0, 1, 2}).wait(RemoteRig::kPatience).value();
  for (const auto& end : ends) EXPECT_THAT(end, StatusIs(StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace kvferry
