#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "tests/runtime/control/descriptor_limit.h"
#include "tests/support/engine_pair.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_peer.h"

namespace kvferry {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class KeptLines final : public Logger {
 public:
  bool enabled(LogLevel) const override { return true; }
  void log(LogLevel, std::string_view line) override {
    const std::lock_guard lock(mutex_);
    lines_.emplace_back(line);
  }
  std::vector<std::string> with(std::string_view text) const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> found;
    std::ranges::copy_if(lines_, std::back_inserter(found), [&](const std::string& line) {
      return line.find(text) != std::string::npos;
    });
    return found;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

/// A listening engine whose log is kept; who connects has not shown the token yet.
class TransferEngineStrangersTest : public ::testing::Test {
 protected:
  explicit TransferEngineStrangersTest(Duration handshake_timeout = std::chrono::seconds(20)) {
    TransferEngineOptions options;
    options.name = "engine";
    options.token = "secret";
    options.chunk_bytes = 4096;
    options.transport = transport;
    options.handshake_timeout = handshake_timeout;
    options.logger = &log;
    engine = TransferEngine::create(std::move(options)).value();
    port = engine->listen("127.0.0.1", 0).value();
  }

  // tcp_connect in two steps: the second needs no descriptor.
  static UniqueFd unconnected() {
    return UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  }
  void begin_to_connect(const UniqueFd& socket) const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto* raw = reinterpret_cast<const sockaddr*>(&address);
    EXPECT_TRUE(::connect(socket.get(), raw, sizeof(address)) == 0 || errno == EINPROGRESS);
  }

  KeptLines log;
  const std::shared_ptr<Transport> transport = make_transport("loopback").value();
  std::unique_ptr<TransferEngine> engine;
  uint16_t port = 0;
};

TEST_F(TransferEngineStrangersTest, WhatNoHelloNeedsIsNotWaitedFor) {
  RawClient client = RawClient::connect(port);
  const auto framed = RawClient::framed(std::vector<std::byte>(TcpChannel::kMaxStrangerBytes + 1));
  client.send_bytes(std::span(framed).first(4));
  EXPECT_TRUE(client.is_ended_by_peer());
  EXPECT_TRUE(eventually(
      [&] { return !log.with("the limit is 4096 until it has said who it is").empty(); }));
}

TEST_F(TransferEngineStrangersTest, TheLongestHelloIsTaken) {
  ScriptedPeer peer(transport, port, std::string(kMaxNameBytes, 'n'));
  peer.hello().host_id = std::string(kMaxNameBytes, 'h');
  ASSERT_TRUE(peer.greet() && peer.say_hello());
  EXPECT_TRUE(peer.client().receive_one<PathMessage>());
}

TEST_F(TransferEngineStrangersTest, AKnownPeerMaySendLargeMessages) {
  ScriptedPeer peer(transport, port);
  ASSERT_TRUE(peer.shake_hands());
  CacheEngineKey key;
  key.model = std::string(256, 'm');
  ASSERT_TRUE(peer.client().send(FetchMessage{1, std::vector<ChunkRef>(100, {key, 0, 256})}));
  EXPECT_TRUE(peer.client().receive_one<UnservedMessage>());
}

TEST_F(TransferEngineStrangersTest, WhatPeersWriteStaysOneLineOfPlainTextInTheLog) {
  ScriptedPeer liar(transport, port);
  liar.hello().transport = "pigeon\n12:00:00 engine info all_is_well \x1b[2J\x9b";
  ASSERT_TRUE(liar.greet() && liar.say_hello());
  EXPECT_TRUE(liar.client().is_ended_by_peer());
  ScriptedPeer named(transport, port, "peer\r\x1b]0;title\x07");
  ASSERT_TRUE(named.greet() && named.say_hello());
  EXPECT_TRUE(named.client().is_ended_by_peer());
  EXPECT_TRUE(eventually([&] { return log.with("handshake_failed").size() == 2; }));
  EXPECT_THAT(log.with("handshake_failed"), Contains(HasSubstr("name is not plain ASCII text")));
  EXPECT_THAT(log.with("handshake_failed"),
              Contains(HasSubstr("pigeon?12:00:00 engine info all_is_well ?[2J?")));
  for (const std::string& line : log.with("")) {
    EXPECT_TRUE(std::ranges::all_of(line, [](char c) { return c >= ' ' && c <= '~'; })) << line;
  }
}

TEST_F(TransferEngineStrangersTest, WithoutDescriptorsTheyWaitUntilThereAreSome) {
  if (!DescriptorLimit::kIsBearable) GTEST_SKIP() << "the sanitizer needs descriptors";
  std::optional<RawClient> client;
  {
    UniqueFd socket = unconnected();
    const DescriptorLimit limit;
    begin_to_connect(socket);
    EXPECT_TRUE(eventually([&] { return !log.with("connections_wait").empty(); }));
    client.emplace(std::move(socket));
  }
  EXPECT_TRUE(client->receive_one<GreetingMessage>());
  EXPECT_EQ(log.with("connections_wait").size(), 1U);
}

TEST_F(TransferEngineStrangersTest, TheEngineEndsWhileTheyWaitForADescriptor) {
  if (!DescriptorLimit::kIsBearable) GTEST_SKIP() << "the sanitizer needs descriptors";
  UniqueFd socket = unconnected();
  const DescriptorLimit limit;
  begin_to_connect(socket);
  EXPECT_TRUE(eventually([&] { return !log.with("connections_wait").empty(); }));
  engine.reset();
  EXPECT_TRUE(RawClient(std::move(socket)).is_ended_by_peer());
}

/// Strangers are given little time here.
class TransferEngineSlowStrangersTest : public TransferEngineStrangersTest {
 protected:
  TransferEngineSlowStrangersTest() : TransferEngineStrangersTest(std::chrono::milliseconds(50)) {}
};

TEST_F(TransferEngineSlowStrangersTest, AHelloThatTricklesInIsEndedByTheTimeout) {
  RawClient client = RawClient::connect(port);
  const auto hello = RawClient::framed(std::vector<std::byte>(TcpChannel::kMaxStrangerBytes));
  ASSERT_TRUE(client.send_bytes(std::span(hello).first(100)));
  EXPECT_TRUE(eventually([&, sent = size_t{100}]() mutable {
    if (sent + 1 < hello.size()) client.send_bytes(std::span(hello).subspan(sent++, 1));
    return !log.with("handshake_failed").empty();
  }));
  EXPECT_THAT(log.with("handshake_failed"), Contains(HasSubstr("did not finish its handshake")));
  EXPECT_TRUE(client.is_ended_by_peer());
}

}  // namespace
}  // namespace kvferry
