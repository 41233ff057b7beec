#include <gmock/gmock.h>

#include <deque>
#include <future>
#include <optional>
#include <thread>

#include "kvferry/mutex.h"
#include "runtime/telemetry/backend_counters.h"
#include "tests/backends/peer/peer_rig.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_peer.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class LineLogger final : public Logger {
 public:
  bool enabled(LogLevel /*level*/) const override { return true; }
  void log(LogLevel /*level*/, std::string_view line) override {
    MutexLock lock(mutex_);
    lines_.emplace_back(line);
  }
  std::vector<std::string> with(const std::string& text) const {
    MutexLock lock(mutex_);
    std::vector<std::string> found;
    for (const std::string& line : lines_) {
      if (line.find(text) != std::string::npos) found.push_back(line);
    }
    return found;
  }

 private:
  mutable Mutex mutex_;
  std::vector<std::string> lines_ KVFERRY_GUARDED_BY(mutex_);
};

/// One engine that asks, over loopback; the peers are a test's own.
class PeerFaults : public ::testing::Test {
 protected:
  PeerFaults() {
    TransferEngineOptions options = peer_engine_options("asking", transport);
    options.logger = &log;
    asking = TransferEngine::create(std::move(options)).value();
    port = asking->listen("127.0.0.1", 0).value();
  }
  ~PeerFaults() override { close(); }

  BackendContext context() {
    BackendContext context;
    context.name = "peer";
    context.executor = executor.get();
    context.work_pool = work_pool.get();
    context.allocator = pool.get();
    context.logger = &log;
    context.metrics = &counters;
    context.blocking_timeout = std::chrono::seconds(20);
    return context;
  }
  void make_backend(PeerOptions options) {
    options.first_pause = std::chrono::milliseconds(1);
    options.max_pause = std::chrono::milliseconds(10);
    backend = make_peer_backend(context(), asking->exchange(), options).value();
  }
  /// A backend over engines, all of them connected.
  void make_backend_over(std::initializer_list<PeerEngine*> asked, const std::string& push_to,
                         Duration timeout = std::chrono::seconds(20)) {
    PeerOptions options;
    options.push_to = push_to;
    options.timeout = timeout;
    for (PeerEngine* engine : asked) {
      options.peers.push_back(engine->address());
      ASSERT_THAT(asking->exchange().connect(engine->address()), IsOk());
    }
    make_backend(options);
  }
  PeerEngine& add_engine(const std::string& name, StagedFragmentHook hook = nullptr,
                         size_t num_chunks = 16) {
    TransferEngineOptions options = peer_engine_options(name, transport);
    options.staged_fragment_hook = std::move(hook);
    return engines.emplace_back(std::move(options), num_chunks);
  }
  void close() {
    if (backend == nullptr) return;
    std::promise<void> closed;
    backend->close([&] { closed.set_value(); });
    closed.get_future().wait();
    backend.reset();
    EXPECT_TRUE(eventually([&] { return pool->usage().used_slots == 0; }));
  }

  Result<MemoryObjPtr> get(int number) {
    std::promise<Result<MemoryObjPtr>> ended;
    backend->submit_get(contract_keys({number}), {},
                        [&](size_t, Result<MemoryObjPtr> obj) { ended.set_value(std::move(obj)); });
    return ended.get_future().get();
  }
  Result<bool> holds(int number, ContainsIntent intent = ContainsIntent::kGet) {
    std::promise<Result<bool>> ended;
    backend->submit_contains(
        contract_keys({number}), [&](size_t, const Result<bool>& held) { ended.set_value(held); },
        intent);
    return ended.get_future().get();
  }
  Status put(int number, const TransferSpec& spec = {}) {
    const ContractChunk chunk = make_contract_chunk(number);
    const MemoryObjPtr obj = pool->allocate(chunk.bytes.size()).value();
    fill_object(chunk, *obj);
    std::promise<Status> ended;
    backend->submit_put(contract_keys({number}), std::span(&obj, 1), spec,
                        [&](size_t, Status status) { ended.set_value(std::move(status)); });
    return ended.get_future().get();
  }
  void expect_got(int number) {
    const auto obj = get(number);
    ASSERT_THAT(obj, IsOk());
    ASSERT_TRUE(*obj) << "a miss";
    EXPECT_TRUE((*obj)->is_verified());
    EXPECT_THAT(expect_chunk(make_contract_chunk(number), **obj), IsOk());
  }
  void expect_miss(int number) {
    const auto obj = get(number);
    ASSERT_THAT(obj, IsOk());
    EXPECT_FALSE(*obj);
  }

  const std::shared_ptr<Transport> transport = make_transport("loopback").value();
  const SteadyClock clock;
  LineLogger log;
  BackendCounters counters;
  std::unique_ptr<MemoryPool> pool =
      MemoryPool::create({.slot_bytes = kContractChunkBytes, .num_slots = 16}).value();
  std::unique_ptr<ThreadExecutor> executor = ThreadExecutor::create("asking", clock).value();
  std::unique_ptr<ThreadWorkPool> work_pool = ThreadWorkPool::create("asking_work", 2).value();
  std::unique_ptr<TransferEngine> asking;
  uint16_t port = 0;
  std::deque<PeerEngine> engines;
  std::unique_ptr<StorageBackend> backend;
};

TEST_F(PeerFaults, PeersAreAskedInTheirOrder) {
  PeerEngine& first = add_engine("first");
  PeerEngine& second = add_engine("second");
  ASSERT_THAT(first.hold(1), IsOk());
  ASSERT_THAT(second.hold(1, 1), IsOk());
  ASSERT_THAT(second.hold(2), IsOk());
  make_backend_over({&first, &second}, "");
  EXPECT_EQ(backend->batched_contains(contract_keys({1, 2, 3})), 2U);
  expect_got(1);
  expect_got(2);
  expect_miss(3);
  EXPECT_FALSE(backend->remove(contract_key(1))) << "what peers hold is theirs";
  EXPECT_TRUE(first.memory().contains(contract_key(1)));
}

TEST_F(PeerFaults, PutsGoToThePeerThatIsNamedOrNowhere) {
  PeerEngine& first = add_engine("first");
  PeerEngine& second = add_engine("second");
  make_backend_over({&first, &second}, "");
  EXPECT_FALSE(backend->traits().retains);
  EXPECT_THAT(put(1), IsOk());
  expect_miss(1);
  EXPECT_THAT(put(1, {.peer = "second"}), IsOk());
  EXPECT_FALSE(first.memory().contains(contract_key(1)));
  EXPECT_TRUE(second.memory().contains(contract_key(1)));
  expect_got(1);
  EXPECT_EQ(second.engine().stats().chunks_received, 1U);
  EXPECT_THAT(put(1, {.peer = "second"}), IsOk());
  EXPECT_EQ(second.engine().stats().chunks_received, 1U) << "it has that chunk";
  EXPECT_THAT(put(2, {.peer = "nobody"}), StatusIs(StatusCode::kUnavailable, HasSubstr("nobody")));
}

TEST_F(PeerFaults, AStoreAsksThePeerThatItPushesTo) {
  PeerEngine& other = add_engine("other");
  PeerEngine& pushed = add_engine("pushed");
  ASSERT_THAT(other.hold(1), IsOk());
  make_backend_over({&other, &pushed}, "pushed");
  EXPECT_TRUE(holds(1).value_or(false));
  EXPECT_FALSE(holds(1, ContainsIntent::kPut).value_or(true));
  EXPECT_THAT(put(1), IsOk());
  EXPECT_TRUE(holds(1, ContainsIntent::kPut).value_or(false));
}

TEST_F(PeerFaults, WhatThePeerDoesNotWantIsNotKept) {
  PeerEngine& peer = engines.emplace_back(
      peer_engine_options("peer", transport), 16, uint16_t{0},
      [](const CacheEngineKey& key, const MemoryObj&) {
        return key == contract_key(1) ? Status(StatusCode::kFailedPrecondition, "another layout")
                                      : Status();
      });
  make_backend_over({&peer}, "peer");
  EXPECT_THAT(put(1), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("another layout")));
  expect_miss(1);
  EXPECT_THAT(put(2), IsOk());
  expect_got(2);
}

TEST_F(PeerFaults, APeerWithoutRoomSaysSo) {
  PeerEngine& peer = add_engine("peer", nullptr, 2);
  make_backend_over({&peer}, "peer");
  const MemoryObjPtr one = peer.pool().allocate(1).value();
  const MemoryObjPtr two = peer.pool().allocate(1).value();
  EXPECT_THAT(put(1), StatusIs(StatusCode::kResourceExhausted, HasSubstr("peer 'peer'")));
  expect_miss(1);
}

TEST_F(PeerFaults, NoMemoryHereIsAnErrorNotAWait) {
  PeerEngine& peer = add_engine("peer");
  ASSERT_THAT(peer.hold(1), IsOk());
  make_backend_over({&peer}, "");
  std::vector<MemoryObjPtr> all;
  while (auto obj = pool->allocate(1)) all.push_back(*std::move(obj));
  EXPECT_THAT(get(1), StatusIs(StatusCode::kResourceExhausted, HasSubstr("")));
  all.clear();
  expect_got(1);
}

TEST_F(PeerFaults, ALostPeerIsAMissAtOnceAndFoundAgain) {
  PeerEngine& peer = add_engine("peer");
  ASSERT_THAT(peer.hold(1), IsOk());
  const PeerAddress address = peer.address();
  make_backend_over({&peer}, "peer");
  expect_got(1);
  engines.clear();
  EXPECT_TRUE(eventually([&] { return !log.with("peer_unreachable").empty(); }));
  EXPECT_THAT(holds(1), StatusIs(StatusCode::kUnavailable, HasSubstr("")));
  EXPECT_THAT(get(1), StatusIs(StatusCode::kUnavailable, HasSubstr("")));
  EXPECT_THAT(put(1), StatusIs(StatusCode::kUnavailable, HasSubstr("")));
  PeerEngine& again = add_engine("peer");
  ASSERT_THAT(again.hold(1), IsOk());
  PeerOptions options;
  options.peers = {again.address()};
  close();
  // A closed exchange stays so: as a restart of this engine, too.
  asking.reset();
  asking = TransferEngine::create(peer_engine_options("asking", transport)).value();
  make_backend(options);
  EXPECT_TRUE(eventually([&] { return holds(1).value_or(false); })) << "nobody connected it";
  expect_got(1);
  EXPECT_THAT(log.with("peer_unreachable"), SizeIs(1)) << "one line a time";
}

TEST_F(PeerFaults, APeerThatComesBackToItsPortIsConnectedAgain) {
  std::optional<PeerEngine> peer(std::in_place, peer_engine_options("peer", transport), 16);
  const PeerAddress address = peer->address();
  PeerOptions options;
  options.peers = {address};
  make_backend(options);
  EXPECT_TRUE(eventually([&] { return holds(1).has_value(); }));
  for (int round = 0; round < 3; ++round) {
    peer.reset();
    EXPECT_TRUE(eventually([&] { return !holds(1).has_value(); }));
    peer.emplace(peer_engine_options("peer", transport), 16, address.port);
    ASSERT_THAT(peer->hold(1), IsOk());
    EXPECT_TRUE(eventually([&] { return holds(1).value_or(false); })) << round;
    expect_got(1);
  }
  close();
}

TEST_F(PeerFaults, WithAnotherTokenOrNameNobodyConnects) {
  TransferEngineOptions strange = peer_engine_options("strange", transport);
  strange.token = "another";
  PeerEngine& stranger = engines.emplace_back(std::move(strange), 4);
  PeerEngine& named = add_engine("named");
  PeerOptions options;
  options.peers = {stranger.address(), named.address()};
  options.peers[1].name = "misnamed";
  make_backend(options);
  EXPECT_TRUE(eventually([&] { return log.with("peer_unreachable").size() == 2; }));
  EXPECT_THAT(log.with("peer=strange "), SizeIs(1));
  EXPECT_THAT(log.with("handshake_failed"), SizeIs(0)) << "said by those who wanted to connect";
  EXPECT_THAT(log.with("peer=misnamed ").at(0), HasSubstr("calls itself 'named'"));
  EXPECT_THAT(holds(1), StatusIs(StatusCode::kUnavailable, HasSubstr("")));
  EXPECT_THAT(asking->exchange().connect(stranger.address()),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("")));
}

/// Flips a byte of the first fragment as often as it is told, and puts it right again.
class ByteFlipper {
 public:
  explicit ByteFlipper(int times) : times_(times) {}

  void operator()(const StagedFragment& fragment) {
    if (fragment.index != 0) return;
    const bool flips = times_ > 0;
    if (flips != is_flipped_) fragment.bytes[0] ^= std::byte{1};
    is_flipped_ = flips;
    --times_;
  }

 private:
  int times_;
  bool is_flipped_ = false;
};

TEST_F(PeerFaults, WrongBytesAreFetchedAgain) {
  PeerEngine& peer = add_engine("peer", ByteFlipper(2));
  ASSERT_THAT(peer.hold(1), IsOk());
  make_backend_over({&peer}, "");
  expect_got(1);
  EXPECT_EQ(asking->stats().chunks_mismatched, 2U);
  EXPECT_EQ(asking->stats().chunks_refetched, 2U);
}

TEST_F(PeerFaults, BytesThatStayWrongAreAMissCountedAndLogged) {
  PeerEngine& wrong = add_engine("wrong", ByteFlipper(1000));
  PeerEngine& right = add_engine("right");
  ASSERT_THAT(wrong.hold(1), IsOk());
  ASSERT_THAT(wrong.hold(2), IsOk());
  ASSERT_THAT(right.hold(2), IsOk());
  make_backend_over({&wrong, &right}, "");
  expect_miss(1);
  EXPECT_EQ(counters.counters().at("data_loss"), 1);
  EXPECT_THAT(log.with("chunk_rejected"), SizeIs(1));
  expect_got(2);
}

TEST_F(PeerFaults, PushedBytesThatStayWrongAreNotKept) {
  PeerEngine& peer = add_engine("peer");
  asking.reset();
  TransferEngineOptions options = peer_engine_options("asking", transport);
  options.staged_fragment_hook = ByteFlipper(1000);
  asking = TransferEngine::create(std::move(options)).value();
  make_backend_over({&peer}, "peer");
  EXPECT_THAT(put(1), StatusIs(StatusCode::kDataLoss, HasSubstr("")));
  EXPECT_FALSE(peer.memory().contains(contract_key(1)));
}

TEST_F(PeerFaults, WhatThePeerEvictsWhileItIsReadArrivesWhole) {
  PeerEngine* evicting = nullptr;
  PeerEngine& peer = add_engine("peer", [&](const StagedFragment& fragment) {
    const std::vector<CacheEngineKey> key = {fragment.ref.key};
    evicting->memory().submit_remove(key, true, [](size_t, const Result<bool>&) {});
  });
  evicting = &peer;
  ASSERT_THAT(peer.hold(7), IsOk());
  make_backend_over({&peer}, "");
  expect_got(7);
  EXPECT_EQ(holds(7).value_or(true), false);
  EXPECT_TRUE(eventually([&] { return peer.pool().usage().used_slots == 0; }));
}

TEST_F(PeerFaults, UnverifiedChunksAreNotServed) {
  PeerEngine& peer = add_engine("peer");
  const ContractChunk chunk = make_contract_chunk(1);
  const MemoryObjPtr obj = peer.pool().allocate(chunk.bytes.size()).value();
  fill_object(chunk, *obj);
  obj->set_verified(false);
  peer.memory().submit_put(contract_keys({1}), std::span(&obj, 1), {},
                           [](size_t, const Status&) {});
  make_backend_over({&peer}, "");
  EXPECT_EQ(holds(1).value_or(false), true);
  expect_miss(1);
}

/// A peer that says what a test likes.
class ScriptedPeerFaults : public PeerFaults {
 protected:
  void connect(Duration timeout, const std::string& push_to = "scripted") {
    ASSERT_TRUE(scripted.shake_hands());
    ASSERT_TRUE(eventually([&] { return !asking->peers().empty(); }));
    PeerOptions options;
    options.peers = {{"scripted", "127.0.0.1", 1}};
    options.push_to = push_to;
    options.timeout = timeout;
    make_backend(options);
  }
  template <typename Message>
  Message heard() {
    auto message = scripted.client().receive_one<Message>();
    EXPECT_TRUE(message.has_value());
    return message.value_or(Message());
  }
  static OfferMessage offer_of(const FetchMessage& fetch, int number) {
    const ContractChunk chunk = make_contract_chunk(number);
    OfferMessage offer;
    offer.transfer_id = 1;
    offer.fetch_id = fetch.fetch_id;
    offer.layout_digest = layout_digest(chunk.record.layout);
    offer.payload_bytes = chunk.bytes.size();
    offer.fragment_bytes = chunk.bytes.size();
    offer.num_fragments = 1;
    offer.record = encode_chunk_record_header(chunk.record).value();
    return offer;
  }

  ScriptedPeer scripted{transport, port};
};

TEST_F(ScriptedPeerFaults, ASilentPeerIsAMissWhenTheTimeIsUp) {
  connect(std::chrono::milliseconds(20));
  EXPECT_THAT(holds(1), StatusIs(StatusCode::kUnavailable, HasSubstr("")));
  EXPECT_THAT(put(1), StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("in time")));
  GetOptions options;
  options.deadline = clock.now() + std::chrono::milliseconds(20);
  std::promise<Status> ended;
  backend->submit_get(contract_keys({1}), options, [&](size_t, const Result<MemoryObjPtr>& obj) {
    ended.set_value(obj ? Status() : obj.error());
  });
  EXPECT_THAT(ended.get_future().get(), StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("")));
}

TEST_F(ScriptedPeerFaults, ASilentPeerLeavesTimeForTheNext) {
  PeerEngine& next = add_engine("next");
  ASSERT_THAT(next.hold(1), IsOk());
  ASSERT_THAT(asking->exchange().connect(next.address()), IsOk());
  ASSERT_TRUE(scripted.shake_hands());
  ASSERT_TRUE(eventually([&] { return asking->peers().size() == 2; }));
  PeerOptions peers;
  peers.peers = {{"scripted", "127.0.0.1", 1}, next.address()};
  make_backend(peers);
  GetOptions options;
  options.deadline = clock.now() + std::chrono::seconds(4);
  std::promise<Result<MemoryObjPtr>> ended;
  backend->submit_get(contract_keys({1}), options,
                      [&](size_t, Result<MemoryObjPtr> obj) { ended.set_value(std::move(obj)); });
  const auto obj = ended.get_future().get();
  ASSERT_THAT(obj, IsOk());
  EXPECT_TRUE(*obj);
}

TEST_F(ScriptedPeerFaults, OneThatSaysYesAndThenHasItNotIsAMiss) {
  connect(std::chrono::seconds(20));
  std::thread peer([&] {
    const auto ask = heard<AskMessage>();
    EXPECT_TRUE(scripted.client().send(AnswerMessage{ask.ask_id, {true}}));
    const auto fetch = heard<FetchMessage>();
    EXPECT_TRUE(fetch.of_memory);
    EXPECT_TRUE(scripted.client().send(
        UnservedMessage{fetch.fetch_id, 0, StatusCode::kNotFound, "evicted"}));
  });
  EXPECT_EQ(holds(1).value_or(false), true);
  expect_miss(1);
  peer.join();
}

TEST_F(ScriptedPeerFaults, AnswersThatDoNotFitAreNone) {
  connect(std::chrono::seconds(20));
  std::thread peer([&] {
    const auto ask = heard<AskMessage>();
    EXPECT_TRUE(scripted.client().send(AnswerMessage{ask.ask_id + 1, {true}}));
    EXPECT_TRUE(scripted.client().send(AnswerMessage{ask.ask_id, {true, true}}));
    EXPECT_TRUE(scripted.client().send(AnswerMessage{ask.ask_id, {true}}));
    EXPECT_TRUE(scripted.client().send(KeptMessage{9, 9, StatusCode::kOk, ""}));
  });
  EXPECT_THAT(holds(1), StatusIs(StatusCode::kUnavailable, HasSubstr("")));
  peer.join();
}

TEST_F(ScriptedPeerFaults, AnotherChunksRecordOrNoneIsRefused) {
  connect(std::chrono::seconds(20));
  for (const int wrong : {0, 1, 2}) {
    std::thread peer([&] {
      const auto fetch = heard<FetchMessage>();
      OfferMessage offer = offer_of(fetch, wrong == 0 ? 2 : 1);
      if (wrong == 1) offer.record.clear();
      if (wrong == 2) ++offer.payload_bytes;
      EXPECT_TRUE(scripted.client().send(offer));
      EXPECT_EQ(heard<AckMessage>().outcome, ChunkOutcome::kRefused);
    });
    EXPECT_THAT(get(1), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("scripted"))) << wrong;
    peer.join();
  }
}

TEST_F(ScriptedPeerFaults, ACloseDuringAGrantedFetchWaitsForItsMemory) {
  connect(std::chrono::seconds(20));
  std::promise<Status> got;
  backend->submit_get(contract_keys({1}), {}, [&](size_t, const Result<MemoryObjPtr>& obj) {
    got.set_value(obj ? Status() : obj.error());
  });
  const auto fetch = heard<FetchMessage>();
  ASSERT_TRUE(scripted.client().send(offer_of(fetch, 1)));
  heard<GrantMessage>();
  close();
  EXPECT_THAT(got.get_future().get(), StatusIs(StatusCode::kCancelled, HasSubstr("")));
}

TEST_F(ScriptedPeerFaults, APushIsReadUntilItsTransferEnds) {
  connect(std::chrono::seconds(20));
  std::promise<Status> ended;
  const ContractChunk chunk = make_contract_chunk(1);
  MemoryObjPtr obj = pool->allocate(chunk.bytes.size()).value();
  fill_object(chunk, *obj);
  std::atomic<bool> has_ended{false};
  backend->submit_put(contract_keys({1}), std::span(&obj, 1), {}, [&](size_t, Status status) {
    has_ended = true;
    ended.set_value(std::move(status));
  });
  obj.reset();
  const auto push = heard<PushMessage>();
  ASSERT_THAT(push.items, SizeIs(1));
  FetchMessage fetch{1, {{contract_key(1), 0, 0}}, FetchPriority::kBackground, true};
  ASSERT_TRUE(scripted.client().send(fetch));
  const auto offer = heard<OfferMessage>();
  EXPECT_EQ(offer.record, encode_chunk_record_header(chunk.record).value());
  ASSERT_TRUE(scripted.client().send(KeptMessage{push.push_id, 0, StatusCode::kOk, ""}));
  // An answer comes after what was sent before it: the engine has heard of Kept by then.
  ASSERT_TRUE(scripted.client().send(AskMessage{1, PeerQuestion::kHolds, {}}));
  heard<AnswerMessage>();
  EXPECT_FALSE(has_ended) << "an offer is open that the peer may still be granted";
  ASSERT_TRUE(scripted.client().send(
      AckMessage{offer.transfer_id, offer.source, ChunkOutcome::kRefused, "enough"}));
  EXPECT_THAT(ended.get_future().get(), IsOk());
}

TEST_F(ScriptedPeerFaults, APushThatFailedAfterItsBytesWereOfferedIsTakenBack) {
  connect(std::chrono::milliseconds(300));
  std::thread peer([&] {
    heard<PushMessage>();
    FetchMessage fetch{1, {{contract_key(1), 0, 0}}, FetchPriority::kBackground, true};
    EXPECT_TRUE(scripted.client().send(fetch));
    const auto offer = heard<OfferMessage>();
    EXPECT_TRUE(scripted.client().send(
        AckMessage{offer.transfer_id, offer.source, ChunkOutcome::kRefused, "enough"}));
    const auto ask = heard<AskMessage>();
    EXPECT_EQ(ask.question, PeerQuestion::kRemove);
    EXPECT_EQ(ask.keys, contract_keys({1}));
  });
  EXPECT_THAT(put(1), StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("in time")));
  peer.join();
}

TEST_F(ScriptedPeerFaults, OneThatDoesNotLetGoLosesItsConnection) {
  connect(std::chrono::seconds(20));
  const ContractChunk chunk = make_contract_chunk(1);
  MemoryObjPtr obj = pool->allocate(chunk.bytes.size()).value();
  fill_object(chunk, *obj);
  std::promise<Status> ended;
  backend->submit_put(contract_keys({1}), std::span(&obj, 1), {},
                      [&](size_t, Status status) { ended.set_value(std::move(status)); });
  obj.reset();
  heard<PushMessage>();
  FetchMessage fetch{1, {{contract_key(1), 0, 0}}, FetchPriority::kBackground, true};
  ASSERT_TRUE(scripted.client().send(fetch));
  heard<OfferMessage>();
  close();  // which its transfer_timeout would hold up, longer than a test may take
  EXPECT_THAT(ended.get_future().get(), StatusIs(StatusCode::kCancelled, HasSubstr("")));
  EXPECT_TRUE(eventually([&] { return asking->peers().empty(); }));
  EXPECT_THAT(log.with("has not let go"), SizeIs(1));
}

}  // namespace
}  // namespace kvferry
