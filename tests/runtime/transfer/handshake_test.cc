#include <poll.h>

#include <algorithm>
#include <deque>
#include <future>

#include "tests/support/engine_pair.h"
#include "tests/support/eventually.h"
#include "tests/support/open_fds.h"
#include "tests/support/scripted_peer.h"
#include "tests/support/seeded_rng.h"

namespace kvferry {
namespace {

constexpr int kMaxHandshakes = 64;  // as in engine_core.cc

/// A prefill engine that listens; strangers come, and an honest peer must find it as it was.
class HandshakeTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (!pair.prefill) return;
    // The honest peer may come while the last strangers are still being turned away.
    EXPECT_TRUE(eventually([&] { return pair.connect().has_value(); }));
    const auto chunks = pair.prefill_prompt(1, 300);
    auto opened = pair.decode_cache->open_prompt(chunks).value();
    EXPECT_THAT(pair.fetch(opened), ::testing::Each(IsOk()));
    for (const PromptChunk& chunk : opened) pair.expect_content(chunk);
    EXPECT_EQ(pair.decode->stats().leases_active, 0U);
    EXPECT_TRUE(eventually([&] { return pair.prefill->stats().leases_active == 0; }));
    EXPECT_EQ(pair.prefill->peers().size(), 1U) << "the honest one";
  }

  RawClient connect() const { return RawClient::connect(pair.port); }
  std::unique_ptr<ScriptedPeer> make_peer() {
    return std::make_unique<ScriptedPeer>(pair.transport(), pair.port,
                                          "peer" + std::to_string(num_peers++));
  }
  static bool is_ended(const RawClient& client) {
    pollfd poll_fd{client.fd(), POLLRDHUP, 0};
    return ::poll(&poll_fd, 1, 0) == 1;
  }

  EnginePair pair{{}};
  int num_peers = 0;
};

TEST(CrossingConnects, TwoThatConnectToOneAnotherAtTheSameMomentAreConnectedOnce) {
  for (int round = 0; round < 30; ++round) {
    EnginePair pair({});
    const uint16_t decode_port = pair.decode->listen("127.0.0.1", 0).value();
    auto back = std::async(std::launch::async,
                           [&] { return pair.prefill->connect("127.0.0.1", decode_port); });
    const auto there = pair.connect();
    EXPECT_TRUE(there.has_value() || back.get().has_value()) << there.error().to_string();
    for (TransferEngine* engine : {pair.prefill.get(), pair.decode.get()}) {
      EXPECT_TRUE(eventually([&] { return engine->peers().size() == 1; }));
    }
    auto opened = pair.decode_cache->open_prompt(pair.prefill_prompt(1, 256)).value();
    EXPECT_THAT(pair.fetch(opened), ::testing::Each(IsOk()));
  }
}

TEST_F(HandshakeTest, GarbageEndsItsOwnConnection) {
  SeededRng rng;
  for (int i = 0; i < 50; ++i) {
    RawClient client = connect();
    const auto bytes = rng.bytes(1 + rng.below(3000));
    client.send_bytes(i % 2 == 0 ? RawClient::framed(bytes) : bytes);
    client.send_bytes(std::vector<std::byte>(8, std::byte{0xff}));
    EXPECT_TRUE(i % 2 == 1 || client.is_ended_by_peer());
  }
}

TEST_F(HandshakeTest, AnOverlongMessageIsNotWaitedFor) {
  RawClient client = connect();
  const auto framed = RawClient::framed(std::vector<std::byte>(kMaxMessageBytes + 1));
  client.send_bytes(std::span(framed).first(4));
  EXPECT_TRUE(client.is_ended_by_peer());
}

TEST_F(HandshakeTest, AWrongHelloIsRefusedWithTheReason) {
  const auto refusal_of = [&](auto change) {
    const auto peer = make_peer();
    change(*peer);
    EXPECT_TRUE(peer->greet() && peer->say_hello());
    const auto refusal = peer->client().receive_one<RefusalMessage>();
    EXPECT_TRUE(peer->client().is_ended_by_peer());
    return refusal ? refusal->code : StatusCode::kOk;
  };
  for (const std::string token : {"secres", "secret.", ""}) {
    EXPECT_EQ(refusal_of([&](ScriptedPeer& peer) { peer.token() = token; }),
              StatusCode::kPermissionDenied);
  }
  EXPECT_EQ(refusal_of([](ScriptedPeer& peer) { peer.hello().name = ""; }),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal_of([](ScriptedPeer& peer) { peer.hello().name = std::string(257, 'n'); }),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal_of([](ScriptedPeer& peer) { peer.hello().transport = "pigeon"; }),
            StatusCode::kFailedPrecondition);
}

TEST_F(HandshakeTest, ANameThatIsTakenIsRefusedWithTheReason) {
  const auto first = make_peer();
  ASSERT_TRUE(first->shake_hands());
  const auto second = make_peer();
  second->hello().name = first->hello().name;
  ASSERT_TRUE(second->greet() && second->say_hello());
  const auto refusal = second->client().receive_one<RefusalMessage>();
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->code, StatusCode::kAlreadyExists);
}

TEST_F(HandshakeTest, AnotherVersionIsRefused) {
  for (const uint32_t version : {0U, kProtocolVersion + 1}) {
    RawClient client = connect();
    EXPECT_TRUE(client.send(GreetingMessage{.version = version}));
    EXPECT_TRUE(client.is_ended_by_peer());
  }
}

TEST_F(HandshakeTest, AProofOfOneConnectionIsNoneOfAnother) {
  const auto first = make_peer();
  ASSERT_TRUE(first->greet() && first->say_hello());
  const HelloMessage overheard = first->hello();
  first->client().close();
  const auto second = make_peer();
  ASSERT_TRUE(second->greet());
  ASSERT_TRUE(second->client().send(overheard));
  const auto refusal = second->client().receive_one<RefusalMessage>();
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->code, StatusCode::kPermissionDenied);
}

TEST_F(HandshakeTest, AStrangerIsToldNothingBeforeItHasProvenWhoItIs) {
  const auto peer = make_peer();
  peer->token() = "guess";
  ASSERT_TRUE(peer->greet() && peer->say_hello());
  while (const auto message = peer->client().receive()) {
    EXPECT_TRUE(std::holds_alternative<RefusalMessage>(*message)) << message->index();
  }
}

TEST_F(HandshakeTest, HostileProcessIdsAndProbesAreHarmless) {
  for (const int32_t pid : {0, -1, 1, INT32_MIN, INT32_MAX}) {
    const auto peer = make_peer();
    peer->hello().pid = pid;
    peer->hello().probe_address = ~uint64_t{0};
    ASSERT_TRUE(peer->greet() && peer->say_hello());
    const auto path = peer->client().receive_one<PathMessage>();
    ASSERT_TRUE(path.has_value());
    EXPECT_FALSE(path->can_pull);
    ASSERT_TRUE(peer->client().send(PathMessage{true, true}));
    EXPECT_TRUE(peer->client().is_ended_by_peer()) << "loopback has no path to another process";
  }
}

TEST_F(HandshakeTest, AMessageOutOfOrderEndsTheConnectionAtEveryStage) {
  const std::vector<ControlMessage> messages = {
      GreetingMessage{}, HelloMessage{},   PathMessage{},     LinkMessage{},
      ReadyMessage{},    FetchMessage{},   UnservedMessage{}, OfferMessage{},
      GrantMessage{},    AbandonMessage{}, AckMessage{},      GoodbyeMessage{},
      AskMessage{},      AnswerMessage{},  PushMessage{},     KeptMessage{},
  };
  for (int stage = 0; stage <= ScriptedPeer::kReady; ++stage) {
    for (const ControlMessage& message : messages) {
      // What is right at this stage, and what a ready engine takes from anyone, is not this test's.
      if (static_cast<int>(message.index()) == stage) continue;
      if (stage == ScriptedPeer::kPath && std::holds_alternative<ReadyMessage>(message)) continue;
      const bool is_said_when_ready =
          (message.index() > 4 && message.index() < 11) || message.index() > 17;
      if (stage == ScriptedPeer::kReady && is_said_when_ready) continue;
      const auto peer = make_peer();
      ASSERT_TRUE(peer->shake_hands(stage)) << stage;
      ASSERT_TRUE(peer->client().send(message));
      EXPECT_TRUE(peer->client().is_ended_by_peer())
          << "message " << message.index() << " at stage " << stage;
    }
  }
}

TEST_F(HandshakeTest, AForeignLinkAddressIsRefused) {
  for (const std::string& address : {std::string("x"), std::string(64 << 10, '/')}) {
    const auto peer = make_peer();
    ASSERT_TRUE(peer->shake_hands(ScriptedPeer::kPath));
    ASSERT_TRUE(peer->client().send(LinkMessage{PeerClass::kSameProcess, address}));
    EXPECT_TRUE(peer->client().is_ended_by_peer());
  }
  const auto peer = make_peer();
  ASSERT_TRUE(peer->shake_hands(ScriptedPeer::kPath));
  ASSERT_TRUE(peer->client().send(LinkMessage{PeerClass::kNetwork, "x"}));
  EXPECT_TRUE(peer->client().is_ended_by_peer()) << "another path than the one agreed on";
}

TEST_F(HandshakeTest, LeavingAtAnyStageLeavesNothingBehind) {
  const size_t fds = count_open_fds();
  for (int round = 0; round < 20; ++round) {
    for (int stage = 0; stage <= ScriptedPeer::kReady; ++stage) {
      const auto peer = make_peer();
      EXPECT_TRUE(peer->shake_hands(stage));
      EXPECT_TRUE(stage < ScriptedPeer::kReady ||
                  eventually([&] { return pair.prefill->peers().size() == 1; }));
      peer->client().close();
      EXPECT_TRUE(eventually([&] { return pair.prefill->peers().empty(); }));
    }
  }
  EXPECT_TRUE(eventually([&] { return count_open_fds() <= fds; })) << count_open_fds();
}

TEST_F(HandshakeTest, TheEngineEndsWhateverStageItsPeersAreAt) {
  for (int stage = 0; stage <= ScriptedPeer::kReady; ++stage) {
    std::vector<std::unique_ptr<ScriptedPeer>> peers;
    peers.push_back(make_peer());
    ASSERT_TRUE(peers.back()->shake_hands(stage));
    pair.prefill.reset();
    EXPECT_TRUE(peers.back()->client().is_ended_by_peer());
    pair.prefill = pair.make_engine("prefill", {});
    pair.prefill->serve(&*pair.provider);
    pair.port = pair.prefill->listen("127.0.0.1", 0).value();
  }
}

TEST_F(HandshakeTest, TheEngineEndsWhileItsLinksAreBeingOpened) {
  for (int i = 0; i < 50; ++i) {
    const auto peer = make_peer();
    ASSERT_TRUE(peer->shake_hands(ScriptedPeer::kHello));
    ASSERT_TRUE(peer->client().send(PathMessage{}));
    ASSERT_TRUE(i % 2 == 1 || peer->client().receive_one<PathMessage>());
    pair.prefill = pair.make_engine("prefill", {});  // the old one ends
    pair.prefill->serve(&*pair.provider);
    pair.port = pair.prefill->listen("127.0.0.1", 0).value();
  }
}

TEST_F(HandshakeTest, ManyStrangersAreBoundedAndMakeRoomWhenTheyLeave) {
  std::deque<RawClient> strangers;
  for (int i = 0; i < 200; ++i) strangers.push_back(connect());
  EXPECT_TRUE(eventually(
      [&] { return std::ranges::count_if(strangers, is_ended) == 200 - kMaxHandshakes; }));
}

/// Strangers are given little time here.
class SlowHandshakeTest : public HandshakeTest {
 protected:
  SlowHandshakeTest() {
    pair.prefill =
        pair.make_engine("prefill", {.handshake_timeout = std::chrono::milliseconds(50)});
    pair.prefill->serve(&*pair.provider);
    pair.port = pair.prefill->listen("127.0.0.1", 0).value();
  }
};

TEST_F(SlowHandshakeTest, SilenceIsEndedByTheTimeoutAtEveryStage) {
  for (int stage = 0; stage < ScriptedPeer::kReady; ++stage) {
    const auto peer = make_peer();
    peer->shake_hands(stage);  // may be too slow already
    EXPECT_TRUE(peer->client().is_ended_by_peer());
  }
}

TEST_F(SlowHandshakeTest, ATrickleOfBytesIsEndedByTheTimeout) {
  RawClient client = connect();
  const auto message = RawClient::framed(std::vector<std::byte>(1 << 20));
  EXPECT_TRUE(eventually([&, sent = size_t{0}]() mutable {
    client.send_bytes(std::span(message).subspan(sent++, 1));
    return is_ended(client);
  }));
}

TEST_F(SlowHandshakeTest, AReadyPeerIsNotEndedByTheTimeout) {
  ScriptedPeer first(pair.transport(), pair.port, "first");
  if (!first.shake_hands()) GTEST_SKIP() << "this machine is too slow for the timeout";
  RawClient silent = connect();
  EXPECT_TRUE(silent.is_ended_by_peer());  // so the time of the first one has passed too
  EXPECT_EQ(pair.prefill->peers().size(), 1U);
  first.client().close();
  EXPECT_TRUE(eventually([&] { return pair.prefill->peers().empty(); }));
}

}  // namespace
}  // namespace kvferry
