#include "kvferry/transfer_engine.h"

#include <atomic>
#include <set>
#include <thread>

#include "tests/support/engine_pair.h"
#include "tests/support/eventually.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

/// No lease, no open page, no quarantine on either side.
void expect_at_rest(EnginePair& pair) {
  EXPECT_TRUE(eventually([&] {
    return pair.prefill->stats().leases_active == 0 && pair.decode->stats().leases_active == 0 &&
           pair.provider->num_open() == 0;
  }));
  EXPECT_EQ(pair.prefill->stats().quarantined_bytes, 0U);
}

TEST(TransferEngine, MovesAPromptIntoDifferentlyFragmentedPages) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOkAndHolds("prefill"));
  const auto chunks = pair.prefill_prompt(1, 256 * 9 + 100);
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  EXPECT_THAT(pair.fetch(opened), Each(IsOk()));
  for (const PromptChunk& chunk : opened) pair.expect_content(chunk);
  EXPECT_EQ(pair.decode->stats().chunks_received, 10U);
  expect_at_rest(pair);
}

TEST(TransferEngine, NamesThePathToEachPeer) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOk());
  const auto peers = pair.decode->peers();
  ASSERT_EQ(peers.size(), 1U);
  EXPECT_EQ(peers[0].name, "prefill");
  EXPECT_THAT(peers[0].path, HasSubstr("loopback"));
}

TEST(TransferEngine, AnEmptyFetchIsDoneAtOnce) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOk());
  std::vector<PromptChunk> nothing;
  EXPECT_TRUE(pair.fetch(nothing).empty());
}

TEST(TransferEngine, AChunkThatTheProviderLacksIsNotFoundAndTheOthersArrive) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOk());
  auto chunks = pair.prefill_prompt(1, 512);
  chunks[0].key.chunk_hash.bytes[0] ^= 1;
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  const auto ends = pair.fetch(opened);
  EXPECT_THAT(ends[0], StatusIs(StatusCode::kNotFound, HasSubstr("prefill")));
  EXPECT_THAT(ends[1], IsOk());
  pair.expect_content(opened[1]);
  expect_at_rest(pair);
}

TEST(TransferEngine, AFlippedByteIsFoundAndTheChunkFetchedAgain) {
  std::mutex mutex;
  std::set<std::string> corrupted;
  EnginePair pair({.hook = [&](const StagedFragment& fragment) {
    const std::lock_guard lock(mutex);
    if (fragment.index == 1 && corrupted.insert(fragment.ref.key.to_string()).second) {
      fragment.bytes[fragment.bytes.size() / 3] ^= std::byte{0x10};
    }
  }});
  ASSERT_THAT(pair.connect(), IsOk());
  const auto chunks = pair.prefill_prompt(7, 256 * 4);
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  EXPECT_THAT(pair.fetch(opened), Each(IsOk()));
  for (const PromptChunk& chunk : opened) pair.expect_content(chunk);
  const TransferStats stats = pair.decode->stats();
  EXPECT_EQ(stats.chunks_mismatched, 4U);
  EXPECT_EQ(stats.chunks_refetched, 4U);
  EXPECT_EQ(std::set<std::string>(stats.mismatched_keys.begin(), stats.mismatched_keys.end()),
            corrupted);
  expect_at_rest(pair);
}

TEST(TransferEngine, AChunkThatNeverVerifiesEndsAsDataLossAndIsNotPublished) {
  EnginePair pair({.max_refetches = 2, .hook = [](const StagedFragment& fragment) {
                     fragment.bytes[0] ^= std::byte{1};
                   }});
  ASSERT_THAT(pair.connect(), IsOk());
  const auto chunks = pair.prefill_prompt(7, 300);
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  EXPECT_THAT(
      pair.fetch(opened),
      Each(StatusIs(StatusCode::kDataLoss, AllOf(HasSubstr("3 attempts"), HasSubstr("layer")))));
  EXPECT_EQ(pair.decode->stats().chunks_mismatched, 6U);
  EXPECT_EQ(pair.decode->stats().chunks_received, 0U);
  expect_at_rest(pair);
}

TEST(TransferEngine, FetchesMoreChunksThanThePoolsHold) {
  EnginePair pair({.blocks = 2048, .pool_chunks = 1});
  ASSERT_THAT(pair.connect(), IsOk());
  const auto chunks = pair.prefill_prompt(1, 256 * 60);
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  EXPECT_THAT(pair.fetch(opened), Each(IsOk()));
  for (const PromptChunk& chunk : opened) pair.expect_content(chunk);
  expect_at_rest(pair);
}

TEST(TransferEngine, AFetchFromAnUnknownPeerEndsAsUnavailable) {
  EnginePair pair({});
  const auto chunks = pair.prefill_prompt(1, 512);
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  EXPECT_THAT(pair.fetch(opened, "nobody"),
              Each(StatusIs(StatusCode::kUnavailable, HasSubstr("nobody"))));
}

TEST(TransferEngine, APeerOfAnotherLayoutIsRefusedWithAReason) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOk());
  const auto chunks = pair.prefill_prompt(1, 256);
  ModelShape other = pair.model;
  other.head_dim = 32;
  pair.decode_cache.emplace(PagedKVCache::create(other, other.preset, 256, 3).value());
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  EXPECT_THAT(pair.fetch(opened),
              Each(StatusIs(StatusCode::kFailedPrecondition, HasSubstr("another layout"))));
  expect_at_rest(pair);
}

TEST(TransferEngine, AWrongTokenIsRefused) {
  EnginePair pair({});
  auto stranger = pair.make_engine("stranger", {}, "guess");
  EXPECT_THAT(stranger->connect("127.0.0.1", pair.port),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("token")));
  EXPECT_TRUE(pair.prefill->peers().empty());
}

TEST(TransferEngine, ASecondPeerOfTheSameNameIsRefused) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOk());
  auto twin = pair.make_engine("decode", {});
  EXPECT_THAT(twin->connect("127.0.0.1", pair.port),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr("decode")));
  EXPECT_EQ(pair.prefill->peers().size(), 1U);
}

TEST(TransferEngine, WhoWeConnectToDoesNotTakeTheNameOfAPeerThatConnectedToUs) {
  EnginePair pair({});
  const uint16_t decode_port = pair.decode->listen("127.0.0.1", 0).value();
  ASSERT_THAT(pair.prefill->connect("127.0.0.1", decode_port), IsOk());
  auto opened = pair.decode_cache->open_prompt(pair.prefill_prompt(1, 256)).value();
  EXPECT_TRUE(eventually([&] { return pair.decode->peers().size() == 1; }));
  EXPECT_THAT(pair.fetch(opened), Each(IsOk()));
  auto twin = pair.make_engine("prefill", {});
  const uint16_t twin_port = twin->listen("127.0.0.1", 0).value();
  EXPECT_THAT(pair.decode->connect("127.0.0.1", twin_port),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr("prefill")));
  auto more = pair.decode_cache->open_prompt(pair.prefill_prompt(1000, 256)).value();
  EXPECT_THAT(pair.fetch(more), Each(IsOk()));
}

TEST(TransferEngine, ConnectingToNobodyIsUnavailable) {
  EnginePair pair({});
  const uint16_t port = pair.port;
  pair.prefill.reset();
  EXPECT_THAT(pair.decode->connect("127.0.0.1", port),
              StatusIs(StatusCode::kUnavailable, HasSubstr("127.0.0.1")));
}

TEST(TransferEngine, ThePeersEndInMidTransferEndsEveryChunkAndReturnsAllMemory) {
  std::atomic<int> fragments{0};
  std::promise<void> started;
  EnginePair pair({.blocks = 4096, .hook = [&](const StagedFragment&) {
                     if (++fragments == 20) started.set_value();
                   }});
  ASSERT_THAT(pair.connect(), IsOk());
  std::promise<std::string> lost;
  pair.decode->set_peer_lost_handler(
      [&](const std::string& peer, const Status&) { lost.set_value(peer); });
  const auto chunks = pair.prefill_prompt(1, 256 * 200);
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  std::thread killer([&] {
    started.get_future().wait();
    pair.prefill.reset();
  });
  const auto ends = pair.fetch(opened);
  killer.join();
  EXPECT_EQ(lost.get_future().get(), "prefill");
  EXPECT_EQ(pair.decode->stats().leases_active, 0U);
  EXPECT_EQ(pair.provider->num_open(), 0);
  for (size_t i = 0; i < ends.size(); ++i) {
    if (ends[i].is_ok()) {
      pair.expect_content(opened[i]);
    } else {
      EXPECT_THAT(ends[i], StatusIs(StatusCode::kUnavailable, HasSubstr("prefill")));
    }
  }
  EXPECT_THAT(ends.back(), StatusIs(StatusCode::kUnavailable, HasSubstr("prefill")));
}

TEST(TransferEngine, ItsOwnEndInMidTransferEndsEveryChunkAsCancelled) {
  EnginePair pair({.blocks = 4096});
  ASSERT_THAT(pair.connect(), IsOk());
  const auto chunks = pair.prefill_prompt(1, 256 * 200);
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  std::atomic<size_t> ended{0};
  std::atomic<size_t> cancelled{0};
  std::vector<FetchItem> items;
  items.reserve(opened.size());
  for (const PromptChunk& chunk : opened) {
    items.push_back({chunk.ref, {&pair.decode_cache->cache().layout(), chunk.slots}});
  }
  pair.decode->fetch("prefill", std::move(items), {.on_chunk = [&](size_t, const Status& status) {
                       ++ended;
                       if (status.code() == StatusCode::kCancelled) ++cancelled;
                     }});
  pair.decode.reset();
  EXPECT_EQ(ended.load(), opened.size());
  EXPECT_GT(cancelled.load(), 0U);
  EXPECT_TRUE(eventually([&] { return pair.prefill->stats().leases_active == 0; }));
  EXPECT_EQ(pair.provider->num_open(), 0);
}

TEST(TransferEngine, AnItemThatCannotBeAskedForEndsAloneAsInvalid) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOk());
  const auto chunks = pair.prefill_prompt(1, 256 * 5);
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  opened[0].ref.token_begin = -1;
  opened[1].ref.token_end = opened[1].ref.token_begin;
  opened[2].ref.key.model.clear();
  opened[3].slots.pop_back();
  const auto ends = pair.fetch(opened);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_THAT(ends[i], StatusIs(StatusCode::kInvalidArgument)) << i;
  }
  EXPECT_THAT(ends[4], IsOk());
  EXPECT_EQ(pair.decode->peers().size(), 1U) << "the connection stands";
  expect_at_rest(pair);
}

TEST(TransferEngine, AChunkWithTwoTokensInOneSlotIsRefused) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOk());
  const auto chunks = pair.prefill_prompt(1, 512);
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  opened[0].slots[3] = opened[0].slots[4];
  const auto ends = pair.fetch(opened);
  EXPECT_THAT(ends[0], StatusIs(StatusCode::kInvalidArgument, HasSubstr("two tokens")));
  EXPECT_THAT(ends[1], IsOk());
}

/// Serves chunks that lack their third token.
class ForgetfulProvider final : public ChunkProvider {
 public:
  explicit ForgetfulProvider(ChunkProvider& provider) : provider_(provider) {}
  Result<PagedChunk> open_chunk(const ChunkRef& ref) override {
    KVFERRY_ASSIGN_OR_RETURN(PagedChunk pages, provider_.open_chunk(ref));
    pages.slots[2] = -1;
    return pages;
  }
  void close_chunk(const ChunkRef& ref) override { provider_.close_chunk(ref); }

 private:
  ChunkProvider& provider_;
};

TEST(TransferEngine, AChunkThatLacksTokensAtItsSourceIsNotServed) {
  EnginePair pair({});
  ForgetfulProvider provider(*pair.provider);
  pair.prefill->serve(&provider);
  ASSERT_THAT(pair.connect(), IsOk());
  const auto chunks = pair.prefill_prompt(1, 256);
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  EXPECT_THAT(pair.fetch(opened)[0], StatusIs(StatusCode::kInternal, HasSubstr("lacks tokens")));
  pair.prefill->serve(&*pair.provider);
}

TEST(TransferEngine, AFetchThatIsCancelledInMidTransferKeepsWhatHadArrived) {
  std::atomic<int> fragments{0};
  std::promise<void> started;
  EnginePair pair({.blocks = 4096, .hook = [&](const StagedFragment&) {
                     if (++fragments == 40) started.set_value();
                   }});
  ASSERT_THAT(pair.connect(), IsOk());
  const auto chunks = pair.prefill_prompt(1, 256 * 200);
  auto opened = pair.decode_cache->open_prompt(chunks).value();
  std::thread canceller([&] {
    started.get_future().wait();
    pair.decode->cancel(1);  // its first
  });
  const auto ends = pair.fetch(opened);
  canceller.join();
  size_t arrived = 0;
  for (size_t i = 0; i < ends.size(); ++i) {
    EXPECT_THAT(ends[i], ::testing::AnyOf(IsOk(), StatusIs(StatusCode::kCancelled))) << i;
    if (!ends[i].is_ok()) continue;
    ++arrived;
    pair.expect_content(opened[i]);
  }
  EXPECT_GT(arrived, 0U);
  EXPECT_LT(arrived, ends.size());
  expect_at_rest(pair);
}

TEST(TransferEngine, APeerLostHandlerMayReplaceItself) {
  EnginePair pair({});
  std::promise<void> lost;
  pair.decode->set_peer_lost_handler(
      [&, big = std::string(1000, 'x')](const std::string&, const Status&) {
        pair.decode->set_peer_lost_handler(nullptr);
        EXPECT_EQ(big.size(), 1000U);
        lost.set_value();
      });
  ASSERT_THAT(pair.connect(), IsOk());
  pair.prefill.reset();
  lost.get_future().wait();
}

TEST(TransferEngine, ACallbackThatRetriesAtOnceDoesNotKeepTheEngineFromEnding) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOk());
  const auto chunks = pair.prefill_prompt(1, 256);
  const auto opened = pair.decode_cache->open_prompt(chunks).value();
  TransferEngine* const engine = pair.decode.get();
  std::function<void(size_t, const Status&)> retry = [&](size_t, const Status&) {
    engine->fetch("prefill",
                  {{opened[0].ref, {&pair.decode_cache->cache().layout(), opened[0].slots}}},
                  {.on_chunk = retry});
  };
  retry(0, Status());
  pair.decode.reset();
}

/// Many chunks for one, one for another, through a pool of one slot.
TEST(TransferEngine, APeerWithALongQueueDoesNotStarveAnother) {
  EnginePair pair({.blocks = 8192, .pool_chunks = 1});
  ASSERT_THAT(pair.connect(), IsOk());
  auto other = pair.make_engine("other", {.pool_chunks = 1});
  ASSERT_THAT(other->connect("127.0.0.1", pair.port), IsOk());
  const auto many = pair.prefill_prompt(1, 256 * 300);
  const auto opened = pair.decode_cache->open_prompt(many).value();
  std::vector<FetchItem> items;
  items.reserve(opened.size());
  for (const PromptChunk& chunk : opened) {
    items.push_back({chunk.ref, {&pair.decode_cache->cache().layout(), chunk.slots}});
  }
  std::atomic<int> arrived{0};
  std::promise<void> all;
  pair.decode->fetch("prefill", items,
                     {.on_chunk = [&](size_t, const Status&) { ++arrived; },
                      .on_done = [&](const FetchSummary&) { all.set_value(); }});
  EXPECT_TRUE(eventually([&] { return arrived > 3; }));
  PagedKVCache pages = PagedKVCache::create(pair.model, pair.model.preset, 64, 3).value();
  const auto blocks = pages.allocate(16).value();
  const auto slots = slots_from_block_table(blocks, pair.model.block_tokens, 0, 256).value();
  std::promise<int> before;
  other->fetch("prefill", {{many[0], {&pages.layout(), slots}}},
               {.on_chunk = [&](size_t, const Status& status) {
                 EXPECT_THAT(status, IsOk());
                 before.set_value(arrived);
               }});
  EXPECT_LT(before.get_future().get(), 300) << "it did not wait for all of the other's";
  all.get_future().wait();
}

TEST(TransferEngine, ManyItemsWithTheLongestKeysFitIntoItsMessages) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOk());
  PromptChunk chunk = pair.decode_cache->open_prompt(pair.prefill_prompt(1, 16)).value()[0];
  chunk.ref.key.model = std::string(256, 'm');
  chunk.ref.key.tags = {{"tag", std::string(600, 'v')}};
  ASSERT_THAT(chunk.ref.key.validate(), IsOk());
  std::vector<PromptChunk> opened(5000, chunk);
  EXPECT_THAT(pair.fetch(opened), Each(StatusIs(StatusCode::kNotFound)));
  EXPECT_EQ(pair.decode->peers().size(), 1U);
}

TEST(TransferEngine, ItsCallbacksMayAskItQuestions) {
  EnginePair pair({});
  ASSERT_THAT(pair.connect(), IsOk());
  const PromptChunk chunk = pair.decode_cache->open_prompt(pair.prefill_prompt(1, 256)).value()[0];
  std::promise<size_t> num_peers;
  pair.decode->fetch("prefill", {{chunk.ref, {&pair.decode_cache->cache().layout(), chunk.slots}}},
                     {.on_chunk = [&](size_t, const Status&) {
                       EXPECT_EQ(pair.decode->stats().chunks_received, 1U);
                       num_peers.set_value(pair.decode->peers().size());
                     }});
  EXPECT_EQ(num_peers.get_future().get(), 1U);
}

TEST(TransferEngine, EnginesThatComeAndGoInMidTransferLeaveNothingRunning) {
  for (int round = 0; round < 30; ++round) {
    EnginePair pair({.blocks = 1024, .fragment_bytes = 1});
    ASSERT_THAT(pair.connect(), IsOk());
    const auto opened = pair.decode_cache->open_prompt(pair.prefill_prompt(1, 256 * 20)).value();
    std::vector<FetchItem> items;
    items.reserve(opened.size());
    for (const PromptChunk& chunk : opened) {
      items.push_back({chunk.ref, {&pair.decode_cache->cache().layout(), chunk.slots}});
    }
    std::promise<void> first;
    std::atomic<int> ended{0};
    pair.decode->fetch("prefill", std::move(items), {.on_chunk = [&](size_t, const Status&) {
                         if (++ended == 1) first.set_value();
                       }});
    first.get_future().wait();
    (round % 2 == 0 ? pair.prefill : pair.decode).reset();
    (round % 2 == 0 ? pair.decode : pair.prefill).reset();
    EXPECT_EQ(ended, 20);
    EXPECT_EQ(pair.provider->num_open(), 0);
  }
}

TEST(TransferEngine, OptionsThatCannotWorkAreNamed) {
  TransferEngineOptions options;
  EXPECT_THAT(TransferEngine::create(options),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("name")));
  options.name = "a";
  EXPECT_THAT(TransferEngine::create(options),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("token")));
  options.token = "t";
  EXPECT_THAT(TransferEngine::create(options),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("chunk_bytes")));
  options.chunk_bytes = 1;
  EXPECT_THAT(TransferEngine::create(options),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("transport")));
}

TEST(TransferEngine, OptionsThatNoPeerWouldTakeAreRefusedWithTheirLimit) {
  TransferEngineOptions fitting;
  fitting.name = std::string(256, 'n');
  fitting.token = std::string(256, 't');
  fitting.chunk_bytes = 4096;
  fitting.transport = make_transport("loopback").value();
  EXPECT_THAT(TransferEngine::create(fitting), IsOk());
  const auto expect_refused = [&](auto change, const std::string& what) {
    TransferEngineOptions options = fitting;
    change(options);
    EXPECT_THAT(TransferEngine::create(options),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(what)));
  };
  expect_refused([](auto& options) { options.name += "n"; },
                 "name is 257 bytes long; the limit is 256");
  expect_refused([](auto& options) { options.token += std::string(744, 't'); },
                 "token is 1000 bytes long; the limit is 256");
  expect_refused([](auto& options) { options.handshake_timeout = Duration::zero(); },
                 "handshake_timeout");
  expect_refused([](auto& options) { options.handshake_timeout = Duration::max(); },
                 "handshake_timeout");
  expect_refused([](auto& options) { options.silence_limit = Duration::zero(); }, "silence_limit");
  expect_refused([](auto& options) { options.silence_limit = Duration::max(); }, "silence_limit");
  expect_refused([](auto& options) { options.transfer_timeout = Duration::zero(); },
                 "transfer_timeout");
  expect_refused([](auto& options) { options.transfer_timeout = Duration::max(); },
                 "transfer_timeout");
}

}  // namespace
}  // namespace kvferry
