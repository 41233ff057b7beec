// Cache engines that are peers of one another: in one process, and in two over UCX. Has a main() of
// its own, by which it starts itself as the other engine.

#include <gmock/gmock.h>
#include <signal.h>

#include <thread>

#include "tests/runtime/cache/peer_node.h"
#include "tests/support/eventually.h"
#include "tests/support/self_process.h"

namespace kvferry {
namespace {

using SinkTokens = std::vector<int64_t>;

constexpr uint32_t kNumPrompts = 3;
constexpr int64_t kTokens = PeerNode::kPromptTokens;

/// Engine A of two processes: stores, listens, says where, and then how many chunks it has.
int run_as_peer(const SelfRole& role) {
  PeerNode node({.name = "A"});
  for (uint32_t seed = 0; seed < kNumPrompts; ++seed) node.store(PeerNode::prompt(seed));
  role.owner.send(std::to_string(node.engine().peer_port()));
  while (!role.owner.receive().empty()) {
    role.owner.send(std::to_string(node.sink("local_cpu").usage.entries));
  }
  return testing::Test::HasFailure() ? 1 : 0;
}

TEST(PeerTier, OneEngineRetrievesWhatAnotherHasStored) {
  const std::shared_ptr<Transport> transport = make_transport("loopback").value();
  PeerNode a({.name = "A", .transport = transport});
  PeerNode b({.name = "B", .listens = false, .peers = {a.address("A")}, .transport = transport});
  const std::vector<uint32_t> prompt = PeerNode::prompt(1);
  EXPECT_EQ(a.store(prompt).stored, 4U);
  ASSERT_TRUE(eventually([&] { return b.finds(prompt); }));
  EXPECT_EQ(b.engine().lookup(prompt).sink_tokens, (SinkTokens{0, kTokens}));
  EXPECT_EQ(b.retrieve(prompt).sink_tokens, (SinkTokens{0, kTokens}));
  ASSERT_TRUE(eventually([&] { return b.sink("local_cpu").usage.entries == 4; }));
  EXPECT_EQ(b.retrieve(prompt).sink_tokens, (SinkTokens{kTokens, 0})) << "kept from then on";
  EXPECT_EQ(b.sink("peer").hits, 4U);
  EXPECT_EQ(b.store(PeerNode::prompt(2)).stored, 4U);
  EXPECT_EQ(b.store(PeerNode::prompt(2)).held, 4U) << "what only asks peers lacks nothing";
  EXPECT_EQ(b.sink("peer").puts, 0U);
  EXPECT_FALSE(a.finds(PeerNode::prompt(2)));
}

TEST(PeerTier, WhatIsStoredIsPushedToTheOneThatIsNamed) {
  const std::shared_ptr<Transport> transport = make_transport("loopback").value();
  PeerNode a({.name = "A", .transport = transport});
  PeerNode b({.name = "B", .peers = {a.address("A")}, .push_to = "A", .transport = transport});
  uint32_t seed = 0;
  ASSERT_TRUE(eventually([&] {  // until they are connected it is stored here only
    const StoreResult stored = b.store(PeerNode::prompt(++seed));
    EXPECT_EQ(stored.lost, 0U);
    return stored.status.is_ok();
  }));
  const std::vector<uint32_t> prompt = PeerNode::prompt(seed);
  EXPECT_TRUE(a.finds(prompt));
  EXPECT_EQ(a.retrieve(prompt).tokens, kTokens);
  EXPECT_EQ(b.engine().clear(prompt).chunks, 4U);
  EXPECT_FALSE(a.finds(prompt)) << "a clear is of every sink";
}

TEST(PeerTier, WhatAnotherPeerHoldsIsPushedAllTheSame) {
  const std::shared_ptr<Transport> transport = make_transport("loopback").value();
  PeerNode a({.name = "A", .transport = transport});
  PeerNode c({.name = "C", .transport = transport});
  PeerNode b({.name = "B",
              .peers = {c.address("C"), a.address("A")},
              .push_to = "A",
              .transport = transport});
  const std::vector<uint32_t> prompt = PeerNode::prompt(0);
  EXPECT_EQ(c.store(prompt).stored, 4U);
  ASSERT_TRUE(eventually([&] { return b.finds(prompt); }));
  uint32_t seed = 0;
  ASSERT_TRUE(eventually([&] { return b.store(PeerNode::prompt(++seed)).status.is_ok(); }));
  EXPECT_THAT(b.store(prompt).status, IsOk());
  EXPECT_TRUE(a.finds(prompt));
}

TEST(PeerTier, WhatIsPushedInAnotherLayoutIsNotKept) {
  const std::shared_ptr<Transport> transport = make_transport("loopback").value();
  PeerNode a({.name = "A", .transport = transport});
  PeerNode b({.name = "B",
              .peers = {a.address("A")},
              .push_to = "A",
              .num_heads = 1,
              .transport = transport});
  uint32_t seed = 0;
  ASSERT_TRUE(eventually([&] {
    return b.store(PeerNode::prompt(++seed)).status.code() == StatusCode::kFailedPrecondition;
  })) << "until they are connected it is kUnavailable";
  EXPECT_EQ(a.sink("local_cpu").usage.entries, 0U);
}

TEST(PeerTier, AnEngineEndsWhileItIsAskedAndPushedTo) {
  const std::shared_ptr<Transport> transport = make_transport("loopback").value();
  for (int round = 0; round < 5; ++round) {
    std::optional<PeerNode> a(std::in_place,
                              PeerNode::Options{.name = "A", .transport = transport});
    PeerNode b({.name = "B", .peers = {a->address("A")}, .push_to = "A", .transport = transport});
    std::atomic<int> stored{0};
    std::thread traffic([&] {
      for (uint32_t seed = 0; seed < 8; ++seed, ++stored) {
        EXPECT_EQ(b.store(PeerNode::prompt(seed)).lost, 0U);
        EXPECT_EQ(b.retrieve(PeerNode::prompt(seed)).tokens, kTokens);
      }
    });
    EXPECT_TRUE(eventually([&] { return stored.load() > round; }));
    a.reset();
    traffic.join();
  }
}

#if KVFERRY_HAVE_UCX
TEST(PeerTier, TwoProcessesOverUcx) {
  SelfProcess other("peer", {"A"});
  const std::string port = other.receive();
  ASSERT_FALSE(port.empty());
  PeerNode b({.name = "B",
              .listens = false,
              .peers = {{"A", "127.0.0.1", static_cast<uint16_t>(std::stoi(port))}},
              .push_to = "A"});
  ASSERT_TRUE(eventually([&] { return b.finds(PeerNode::prompt(0)); }));
  for (uint32_t seed = 0; seed + 1 < kNumPrompts; ++seed) {
    EXPECT_EQ(b.retrieve(PeerNode::prompt(seed)).sink_tokens, (SinkTokens{0, kTokens}));
  }
  EXPECT_EQ(b.sink("peer").hits, 4U * (kNumPrompts - 1));
  EXPECT_THAT(b.store(PeerNode::prompt(9)).status, IsOk());
  other.send("how many?");
  EXPECT_EQ(other.receive(), std::to_string(4 * (kNumPrompts + 1)));

  other.signal(SIGKILL);
  EXPECT_EQ(other.wait(), -SIGKILL);
  const std::vector<uint32_t> lost = PeerNode::prompt(kNumPrompts - 1);
  ASSERT_TRUE(eventually([&] { return !b.finds(lost); }));
  EXPECT_EQ(b.retrieve(lost).tokens, 0) << "a miss";
  EXPECT_EQ(b.retrieve(PeerNode::prompt(0)).tokens, kTokens) << "it has them itself by now";
  EXPECT_EQ(b.store(PeerNode::prompt(10)).lost, 0U) << "kept here, though not pushed";
}
#endif

}  // namespace
}  // namespace kvferry

int main(int argc, char** argv) {
  if (const auto role = kvferry::find_self_role("peer", argc, argv)) {
    return kvferry::run_as_peer(*role);
  }
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
