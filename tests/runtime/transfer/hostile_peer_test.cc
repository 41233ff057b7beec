#include "runtime/transfer/chunk_transfer.h"
#include "tests/support/engine_pair.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_peer.h"
#include "tests/support/wrapped_transport.h"

namespace kvferry {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

/// A prefill engine and one connected peer that does what it must not.
class HostilePeerTest : public ::testing::Test {
 protected:
  explicit HostilePeerTest(EnginePair::Options options = {}) : pair(std::move(options)) {
    peer.emplace(pair.transport(), pair.port);
    EXPECT_TRUE(peer->shake_hands());
    EXPECT_TRUE(eventually([&] { return pair.prefill->peers().size() == 1; }));
  }

  void TearDown() override {
    if (!pair.prefill) return;
    peer->client().close();
    EXPECT_TRUE(eventually([&] { return pair.prefill->peers().empty(); }));
    EXPECT_THAT(pair.connect(), IsOk());
    const auto chunks = pair.prefill_prompt(1000, 600);
    auto opened = pair.decode_cache->open_prompt(chunks).value();
    EXPECT_THAT(pair.fetch(opened), Each(IsOk()));
    for (const PromptChunk& chunk : opened) pair.expect_content(chunk);
    EXPECT_TRUE(eventually([&] { return pair.prefill->stats().leases_active == 0; }));
    EXPECT_EQ(pair.provider->num_open(), 0);
  }

  RawClient& client() { return peer->client(); }

  /// The connection stands and everything sent before has been handled.
  bool answers() {
    ChunkRef unknown = pair.prefill_prompt(1, 16)[0];
    unknown.key.chunk_hash.bytes.fill(0xee);
    if (!client().send(FetchMessage{++fetches, {unknown}})) return false;
    for (;;) {
      const auto answer = client().receive_one<UnservedMessage>();
      if (!answer) return false;
      if (answer->fetch_id == fetches) return true;
    }
  }
  void expect_at_rest() {
    const TransferStats stats = pair.prefill->stats();
    EXPECT_EQ(stats.leases_active, 0U);
    EXPECT_EQ(stats.quarantined_bytes, 0U);
    EXPECT_EQ(stats.chunks_received, 0U);
    EXPECT_EQ(stats.chunks_sent, 0U);
    EXPECT_EQ(pair.provider->num_open(), 0);
  }

  /// The engine asks the peer for chunks of a prompt that nobody holds; their ends come into
  /// `ends`.
  FetchMessage let_engine_fetch(int64_t num_chunks, Duration timeout = {}) {
    std::vector<uint32_t> tokens(static_cast<size_t>(num_chunks * 256), 77);
    const auto refs = chunks_of_prompt(pair.model, pair.hasher, tokens);
    wanted = pair.decode_cache->open_prompt(refs).value();
    std::vector<FetchItem> items;
    for (const PromptChunk& chunk : wanted) {
      items.push_back({chunk.ref, {&pair.decode_cache->cache().layout(), chunk.slots}});
    }
    ends.assign(items.size(), std::nullopt);
    fetch_id = pair.prefill->fetch(
        "scripted", std::move(items),
        {.timeout = timeout,
         .on_chunk = [this](size_t i, const Status& status) { ends[i] = status; },
         .on_done = [this](const FetchSummary&) { done.set_value(); }});
    return client().receive_one<FetchMessage>().value();
  }
  OfferMessage right_offer(const FetchMessage& fetch, uint32_t item, uint64_t transfer_id) {
    const PromptChunk& chunk = wanted[item];
    const ChunkPlan plan =
        plan_chunk(chunk.ref, {&pair.decode_cache->cache().layout(), chunk.slots}, 1 << 20).value();
    return {transfer_id,
            fetch.fetch_id,
            item,
            plan.identity.layout_digest,
            static_cast<uint64_t>(plan.layout.size_bytes),
            1 << 20,
            static_cast<uint32_t>(plan.fragments.size()),
            {transfer_id, 1}};
  }
  /// Lets the engine offer one held chunk to the peer.
  OfferMessage fetch_one() {
    const ChunkRef held = pair.prefill_prompt(1, 256)[0];
    EXPECT_TRUE(client().send(FetchMessage{++fetches, {held}}));
    return client().receive_one<OfferMessage>().value();
  }

  EnginePair pair;
  std::optional<ScriptedPeer> peer;
  uint64_t fetches = 1000;
  std::vector<PromptChunk> wanted;
  std::vector<std::optional<Status>> ends;
  std::promise<void> done;
  FetchId fetch_id = 0;
};

TEST_F(HostilePeerTest, WhatNobodyAskedForChangesNothing) {
  for (uint64_t i = 0; i < 200; ++i) {
    EXPECT_TRUE(client().send(OfferMessage{i, i, 0, 1, 2, 3, 4, {i, i}}));
    const auto ack = client().receive_one<AckMessage>();
    ASSERT_TRUE(ack.has_value());
    EXPECT_EQ(ack->outcome, ChunkOutcome::kRefused);
    EXPECT_EQ(ack->transfer_id, i);
    EXPECT_TRUE(client().send(GrantMessage{i, {i, i}, {i, i}}));
    EXPECT_TRUE(client().send(AckMessage{i, {i, i}, ChunkOutcome::kVerified, "thanks"}));
    EXPECT_TRUE(client().send(AbandonMessage{i, {i, i}, StatusCode::kInternal, "no more"}));
    EXPECT_TRUE(client().send(UnservedMessage{i, 0, StatusCode::kNotFound, "none"}));
    EXPECT_TRUE(client().send(FetchMessage{i, {}}));
  }
  EXPECT_TRUE(answers());
  expect_at_rest();
}

TEST_F(HostilePeerTest, WhatAPeerWithdrawsIsNotOffered) {
  const auto held = pair.prefill_prompt(1, 256 * 8);  // more than there is staging memory for
  EXPECT_TRUE(client().send(FetchMessage{++fetches, held}));
  EXPECT_TRUE(client().send(WithdrawMessage{fetches + 1}));  // of which there is none
  std::vector<OfferMessage> offers;
  for (int i = 0; i < 4; ++i) offers.push_back(client().receive_one<OfferMessage>().value());
  EXPECT_TRUE(client().send(WithdrawMessage{fetches}));
  for (const OfferMessage& offer : offers) {
    EXPECT_TRUE(client().send(
        AckMessage{offer.transfer_id, offer.source, ChunkOutcome::kRefused, "not any more"}));
  }
  EXPECT_TRUE(answers());
  expect_at_rest();
}

TEST_F(HostilePeerTest, ACancelledFetchIsWithdrawn) {
  const FetchMessage fetch = let_engine_fetch(3);
  pair.prefill->cancel(fetch_id);
  const auto withdraw = client().receive_one<WithdrawMessage>();
  ASSERT_TRUE(withdraw.has_value());
  EXPECT_EQ(withdraw->fetch_id, fetch.fetch_id);
  done.get_future().wait();
  for (const auto& end : ends) EXPECT_THAT(end.value(), StatusIs(StatusCode::kCancelled));
}

// It was never granted, so nobody can have verified it.
TEST_F(HostilePeerTest, AChunkThatIsVerifiedBeforeItWasGrantedIsNotCountedAsSent) {
  const OfferMessage offer = fetch_one();
  EXPECT_TRUE(
      client().send(AckMessage{offer.transfer_id, offer.source, ChunkOutcome::kVerified, ""}));
  EXPECT_TRUE(answers());
  expect_at_rest();
}

TEST_F(HostilePeerTest, FragmentsWithoutAGrantAreRefused) {
  FragmentHeader header{1, {1, 1}, 0, 0, 0, {1, 2}};
  const std::vector<std::byte> payload(4096);
  EXPECT_THAT(peer->offer(encode(header), payload), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(peer->offer(std::vector<std::byte>(100, std::byte{0xff}), payload),
              StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(peer->offer({}, {}), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_TRUE(answers());
  expect_at_rest();
}

TEST_F(HostilePeerTest, OnlyItsOwnLeaseFreesASource) {
  const OfferMessage offer = fetch_one();
  const LeaseId& source = offer.source;
  for (const LeaseId& other : {LeaseId{source.id + 1, source.generation}, LeaseId{source.id, 0},
                               LeaseId{source.id, source.generation + 1}}) {
    EXPECT_TRUE(client().send(GrantMessage{offer.transfer_id, other, {1, 1}}));
    EXPECT_TRUE(client().send(AckMessage{offer.transfer_id, other, ChunkOutcome::kVerified, ""}));
    EXPECT_TRUE(
        client().send(AckMessage{offer.transfer_id + 1, source, ChunkOutcome::kFailed, ""}));
  }
  EXPECT_TRUE(answers());
  EXPECT_EQ(pair.prefill->stats().leases_active, 1U);
  EXPECT_EQ(peer->num_offered(), 0);
  EXPECT_TRUE(client().send(AckMessage{offer.transfer_id, source, ChunkOutcome::kRefused, ""}));
  EXPECT_TRUE(answers());
  expect_at_rest();
}

TEST_F(HostilePeerTest, ASecondGrantAndAnEarlyAckDoNotFreeASourceInUseTwice) {
  const OfferMessage offer = fetch_one();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(client().send(GrantMessage{offer.transfer_id, offer.source, {1, 1}}));
    EXPECT_TRUE(
        client().send(AckMessage{offer.transfer_id, offer.source, ChunkOutcome::kFailed, ""}));
  }
  EXPECT_TRUE(eventually([&] { return pair.prefill->stats().leases_active == 0; }));
  EXPECT_TRUE(answers());
  EXPECT_LE(peer->num_offered(), 8);
  expect_at_rest();
}

// As one does whose fetches were cancelled after the grant.
TEST_F(HostilePeerTest, ChunksThatAreRefusedOnTheLinkDoNotEndTheSession) {
  for (int i = 0; i < 20; ++i) {
    const OfferMessage offer = fetch_one();
    EXPECT_TRUE(client().send(GrantMessage{offer.transfer_id, offer.source, {1, 1}}));
    ASSERT_TRUE(client().receive_one<AbandonMessage>());
    EXPECT_TRUE(
        client().send(AckMessage{offer.transfer_id, offer.source, ChunkOutcome::kFailed, ""}));
  }
  EXPECT_TRUE(answers());
  expect_at_rest();
}

TEST_F(HostilePeerTest, LeavingAfterAGrantReturnsBothSidesMemory) {
  const OfferMessage offer = fetch_one();
  EXPECT_TRUE(client().send(GrantMessage{offer.transfer_id, offer.source, {1, 1}}));
  const FetchMessage fetch = let_engine_fetch(2);
  EXPECT_TRUE(client().send(right_offer(fetch, 0, 5)));
  EXPECT_TRUE(client().receive_one<GrantMessage>());
  client().close();
  done.get_future().wait();
  for (const auto& end : ends) EXPECT_THAT(*end, StatusIs(StatusCode::kUnavailable));
  EXPECT_TRUE(eventually([&] { return pair.prefill->stats().leases_active == 0; }));
}

TEST_F(HostilePeerTest, AnOfferOfAnotherShapeEndsTheItemWithoutAGrant) {
  const FetchMessage fetch = let_engine_fetch(5);
  const auto offer = [&](uint32_t item, auto change) {
    OfferMessage message = right_offer(fetch, item, 10 + item);
    change(message);
    EXPECT_TRUE(client().send(message));
  };
  offer(0, [](OfferMessage& m) { m.layout_digest ^= 1; });
  offer(1, [](OfferMessage& m) { m.payload_bytes = ~uint64_t{0}; });
  offer(2, [](OfferMessage& m) { m.num_fragments = 0; });
  offer(3, [](OfferMessage& m) { m.fragment_bytes = 0; });
  offer(4, [](OfferMessage& m) { m.fragment_bytes = ~uint64_t{0}; });
  done.get_future().wait();
  for (const auto& end : ends) EXPECT_FALSE(end->is_ok());
  EXPECT_TRUE(answers());
  expect_at_rest();
}

TEST_F(HostilePeerTest, AnOfferThatComesTwiceIsNotRefusedWhileItsTransferIsUnderWay) {
  const FetchMessage fetch = let_engine_fetch(1);
  EXPECT_TRUE(client().send(right_offer(fetch, 0, 5)));
  const auto grant = client().receive_one<GrantMessage>();
  ASSERT_TRUE(grant.has_value());
  EXPECT_TRUE(client().send(right_offer(fetch, 0, 5)));
  EXPECT_TRUE(
      client().send(AbandonMessage{5, grant->landing, StatusCode::kCancelled, "changed my mind"}));
  const auto ack = client().receive_one<AckMessage>();
  ASSERT_TRUE(ack.has_value());
  EXPECT_EQ(ack->outcome, ChunkOutcome::kFailed) << "a refusal would free the source at once";
}

TEST_F(HostilePeerTest, TwoChunksUnderOneNumberDoNotLeaveAnItemWaiting) {
  const FetchMessage fetch = let_engine_fetch(2);
  EXPECT_TRUE(client().send(right_offer(fetch, 0, 5)));
  const auto grant = client().receive_one<GrantMessage>();
  ASSERT_TRUE(grant.has_value());
  EXPECT_TRUE(client().send(right_offer(fetch, 1, 5)));
  EXPECT_TRUE(client().receive_one<AckMessage>());
  EXPECT_TRUE(answers());
  EXPECT_TRUE(ends[1].has_value());
  EXPECT_TRUE(
      client().send(AbandonMessage{5, grant->landing, StatusCode::kCancelled, "changed my mind"}));
  EXPECT_TRUE(client().receive_one<FetchMessage>()) << "the first is asked for again";
}

/// One landing slot only.
TEST_F(HostilePeerTest, AFetchThatIsCancelledEndsAtOnceAndItsOffersAreRefused) {
  const FetchMessage fetch = let_engine_fetch(3);
  ASSERT_TRUE(client().send(right_offer(fetch, 0, 5)));
  const auto grant = client().receive_one<GrantMessage>();
  ASSERT_TRUE(grant.has_value());
  pair.prefill->cancel(fetch_id);
  done.get_future().wait();
  for (const auto& end : ends) EXPECT_THAT(*end, StatusIs(StatusCode::kCancelled));
  const auto ack = client().receive_one<AckMessage>();
  ASSERT_TRUE(ack.has_value());
  EXPECT_EQ(ack->transfer_id, 5U);
  EXPECT_EQ(ack->outcome, ChunkOutcome::kFailed) << "of the chunk that was granted";
  EXPECT_EQ(pair.prefill->stats().leases_active, 0U);
  ASSERT_TRUE(client().send(right_offer(fetch, 1, 6)));
  const auto refusal = client().receive_one<AckMessage>();
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->outcome, ChunkOutcome::kRefused);
  pair.prefill->cancel(fetch_id);
  EXPECT_TRUE(answers()) << "cancelled twice changes nothing";
}

TEST_F(HostilePeerTest, AFetchWhoseTimeIsUpEnds) {
  let_engine_fetch(3, std::chrono::milliseconds(30));
  done.get_future().wait();
  for (const auto& end : ends) EXPECT_THAT(*end, StatusIs(StatusCode::kDeadlineExceeded));
  EXPECT_TRUE(answers());
}

class NarrowHostilePeerTest : public HostilePeerTest {
 protected:
  NarrowHostilePeerTest() : HostilePeerTest({.pool_chunks = 1}) {}
};

TEST_F(NarrowHostilePeerTest, OffersThatWaitForMemoryAreBoundedByWhatWasAskedFor) {
  const FetchMessage fetch = let_engine_fetch(2);
  EXPECT_TRUE(client().send(right_offer(fetch, 0, 1)));
  ASSERT_TRUE(client().receive_one<GrantMessage>());
  constexpr uint64_t kRepeats = 300;
  for (uint64_t i = 0; i < kRepeats; ++i) EXPECT_TRUE(client().send(right_offer(fetch, 1, 2 + i)));
  for (uint64_t i = 1; i < kRepeats; ++i) {
    const auto ack = client().receive_one<AckMessage>();
    ASSERT_TRUE(ack.has_value());
    EXPECT_EQ(ack->transfer_id, 2 + i) << "the first waits, the others are refused at once";
    EXPECT_EQ(ack->outcome, ChunkOutcome::kRefused);
  }
}

/// Over a transport whose peers may read sources until they die.
class UnfencedHostilePeerTest : public HostilePeerTest {
 protected:
  explicit UnfencedHostilePeerTest(size_t max_quarantined_chunks = 0, size_t pool_chunks = 4)
      : HostilePeerTest({.transport_object = std::make_shared<UnfencedTransport>(
                             make_transport("loopback").value()),
                         .pool_chunks = pool_chunks,
                         .max_quarantined_chunks = max_quarantined_chunks}) {}

  void leave_without_acknowledging() {
    const OfferMessage offer = fetch_one();
    EXPECT_TRUE(client().send(GrantMessage{offer.transfer_id, offer.source, {1, 1}}));
    EXPECT_TRUE(eventually([&] { return peer->num_offered() > 0; }));
    client().close();
    EXPECT_TRUE(eventually([&] { return pair.prefill->stats().quarantined_bytes > 0; }));
  }
};

TEST_F(UnfencedHostilePeerTest, ASourceThatItMayStillReadIsQuarantinedAndItsNameIsFree) {
  leave_without_acknowledging();
  EXPECT_EQ(pair.prefill->stats().quarantined_bytes,
            static_cast<size_t>(256 * pair.model.token_bytes()));
  EXPECT_EQ(pair.prefill->stats().leases_active, 0U);
  ScriptedPeer again(pair.transport(), pair.port);
  EXPECT_TRUE(again.shake_hands());
  EXPECT_TRUE(eventually([&] { return pair.prefill->peers().size() == 1; }));
  again.client().close();
}

TEST_F(UnfencedHostilePeerTest, TheEngineEndsAlthoughMemoryIsQuarantined) {
  leave_without_acknowledging();
  pair.prefill.reset();
}

TEST_F(UnfencedHostilePeerTest, AGoodbyeFreesWhatItMightHaveRead) {
  const OfferMessage offer = fetch_one();
  EXPECT_TRUE(client().send(GrantMessage{offer.transfer_id, offer.source, {1, 1}}));
  EXPECT_TRUE(eventually([&] { return peer->num_offered() > 0; }));
  EXPECT_TRUE(client().send(GoodbyeMessage{}));
  EXPECT_TRUE(client().is_ended_by_peer());
  EXPECT_TRUE(eventually([&] { return pair.prefill->stats().leases_active == 0; }));
  EXPECT_EQ(pair.prefill->stats().quarantined_bytes, 0U);
}

TEST_F(UnfencedHostilePeerTest, QuarantineIsLeftWhenThePeerSaysThatItIsQuiet) {
  const Nonce ended = peer->session();
  leave_without_acknowledging();
  ScriptedPeer again(pair.transport(), pair.port);
  EXPECT_TRUE(again.shake_hands());
  EXPECT_TRUE(again.client().send(QuietMessage{{Nonce{std::byte{7}}}})) << "of another session";
  EXPECT_TRUE(again.client().send(QuietMessage{{ended}}));
  EXPECT_TRUE(eventually([&] { return pair.prefill->stats().quarantined_bytes == 0; }));
  again.client().close();
}

TEST_F(UnfencedHostilePeerTest, AnotherPeerCannotSayThatOneIsQuiet) {
  const Nonce ended = peer->session();
  leave_without_acknowledging();
  ScriptedPeer other(pair.transport(), pair.port, "other");
  EXPECT_TRUE(other.shake_hands());
  EXPECT_TRUE(other.client().send(QuietMessage{{ended}}));
  EXPECT_TRUE(other.client().send(FetchMessage{1, {pair.prefill_prompt(9, 16)[0]}}));
  EXPECT_TRUE(other.client().receive_one<OfferMessage>()) << "it has heard all of it";
  EXPECT_GT(pair.prefill->stats().quarantined_bytes, 0U);
  other.client().close();
}

TEST_F(UnfencedHostilePeerTest, AnEngineTellsItsPeerWhichSessionsAreQuiet) {
  const Nonce ended = peer->session();
  client().close();
  std::optional<QuietMessage> quiet;
  EXPECT_TRUE(eventually([&] {  // the name is free once the former session has come to rest
    ScriptedPeer again(pair.transport(), pair.port);
    if (again.greet() && again.say_hello()) quiet = again.client().receive_one<QuietMessage>();
    return quiet.has_value();
  }));
  ASSERT_TRUE(quiet.has_value());
  EXPECT_EQ(quiet->sessions, std::vector<Nonce>{ended});
}

class FullQuarantineTest : public UnfencedHostilePeerTest {
 protected:
  FullQuarantineTest() : UnfencedHostilePeerTest(1) {}
  void TearDown() override { pair.prefill.reset(); }  // it serves nobody any more
};

TEST_F(FullQuarantineTest, NothingIsOfferedAndTheReasonIsSaid) {
  leave_without_acknowledging();
  ASSERT_THAT(pair.connect(), IsOk());
  auto opened = pair.decode_cache->open_prompt(pair.prefill_prompt(1000, 256)).value();
  EXPECT_THAT(pair.fetch(opened)[0],
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("quarantine")));
}

/// More may be in quarantine than there is.
class WholePoolInQuarantineTest : public UnfencedHostilePeerTest {
 protected:
  WholePoolInQuarantineTest() : UnfencedHostilePeerTest(100, 1) {}
  void TearDown() override { pair.prefill.reset(); }  // it serves nobody any more
};

TEST_F(WholePoolInQuarantineTest, TheReasonIsSaidToo) {
  leave_without_acknowledging();
  ASSERT_THAT(pair.connect(), IsOk());
  auto opened = pair.decode_cache->open_prompt(pair.prefill_prompt(1000, 256)).value();
  EXPECT_THAT(pair.fetch(opened)[0],
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("quarantine")));
}

class ImpatientEngineTest : public HostilePeerTest {
 protected:
  ImpatientEngineTest()
      : HostilePeerTest({.silence_limit = std::chrono::milliseconds(200),
                         .transfer_timeout = std::chrono::milliseconds(400)}) {}
};

TEST_F(ImpatientEngineTest, APeerThatFallsSilentIsLost) {
  EXPECT_TRUE(client().is_ended_by_peer());
  EXPECT_TRUE(eventually([&] { return pair.prefill->peers().empty(); }));
}

TEST_F(ImpatientEngineTest, APeerThatPingsIsKept) {
  for (int ticks = 0; ticks < 20; ++ticks) {
    ASSERT_TRUE(client().receive_one<PingMessage>());
    ASSERT_TRUE(client().send(PingMessage{}));
  }
  EXPECT_EQ(pair.prefill->peers().size(), 1U);
}

TEST_F(ImpatientEngineTest, AGrantThatLeadsNowhereEndsTheConnection) {
  ChunkRef chunk = pair.prefill_prompt(1, 256)[0];
  ASSERT_TRUE(client().send(FetchMessage{1, {chunk}}));
  const auto offer = client().receive_one<OfferMessage>();
  ASSERT_TRUE(offer.has_value());
  ASSERT_TRUE(client().send(GrantMessage{offer->transfer_id, offer->source, {1, 1}}));
  while (client().receive_one<PingMessage>()) client().send(PingMessage{});
  EXPECT_TRUE(client().is_ended_by_peer());
  EXPECT_TRUE(eventually([&] { return pair.prefill->stats().leases_active == 0; }));
}

TEST_F(ImpatientEngineTest, AFetchThatIsNeverAnsweredEnds) {
  let_engine_fetch(2);
  while (client().receive_one<PingMessage>()) client().send(PingMessage{});
  done.get_future().wait();
  for (const auto& end : ends) EXPECT_THAT(*end, StatusIs(StatusCode::kDeadlineExceeded));
}

}  // namespace
}  // namespace kvferry
