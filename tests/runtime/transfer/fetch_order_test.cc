// What a fetch is asked for in which order, what comes of it when it ends early, and how much of it
// the peer knows.

#include <gmock/gmock.h>

#include <future>

#include "tests/support/engine_pair.h"
#include "tests/support/eventually.h"

namespace kvferry {
namespace {

using ::testing::Each;

/// An engine pair whose decode side fetches any number of chunks at a time.
class FetchOrderTest : public ::testing::Test {
 protected:
  FetchOrderTest() : pair({.blocks = 8192, .pool_chunks = 1}) {
    EXPECT_THAT(pair.connect(), IsOk());
  }

  struct Running {
    std::vector<std::optional<Status>> ends;
    std::atomic<int> arrived{0};
    std::promise<FetchSummary> done;
    FetchId id = 0;
  };

  std::unique_ptr<Running> fetch(const std::vector<PromptChunk>& chunks, FetchOptions options) {
    auto running = std::make_unique<Running>();
    running->ends.resize(chunks.size());
    std::vector<FetchItem> items;
    items.reserve(chunks.size());
    for (const PromptChunk& chunk : chunks) {
      items.push_back({chunk.ref, {&pair.decode_cache->cache().layout(), chunk.slots}});
    }
    options.on_chunk = [raw = running.get()](size_t item, const Status& status) {
      raw->ends[item] = status;
      raw->arrived += status.is_ok() ? 1 : 0;
    };
    options.on_done = [raw = running.get()](const FetchSummary& summary) {
      raw->done.set_value(summary);
    };
    running->id = pair.decode->fetch("prefill", std::move(items), std::move(options));
    return running;
  }
  std::vector<PromptChunk> open(uint32_t first_token, int64_t num_chunks) {
    return pair.decode_cache->open_prompt(pair.prefill_prompt(first_token, 256 * num_chunks))
        .value();
  }
  static size_t ok_prefix(const Running& running) {
    const auto end = std::ranges::find_if(running.ends,
                                          [](const auto& each) { return !each || !each->is_ok(); });
    return static_cast<size_t>(end - running.ends.begin());
  }

  EnginePair pair;
};

TEST_F(FetchOrderTest, WhatARequestWaitsForOvertakesAQueueOfPrefetches) {
  const auto queue = fetch(open(1, 200), {.priority = FetchPriority::kPrefetch});
  const auto wanted = open(500'000, 1);
  EXPECT_TRUE(eventually([&] { return queue->arrived > 3; }));
  const auto urgent = fetch(wanted, {});
  EXPECT_EQ(urgent->done.get_future().get().verified, 1U);
  EXPECT_LT(queue->arrived, 200);
  EXPECT_EQ(queue->done.get_future().get().verified, 200U);
}

TEST_F(FetchOrderTest, TheBackgroundGoesOnBesideAStreamOfRequests) {
  const auto requests = fetch(open(1, 200), {});
  const auto copies = fetch(open(500'000, 10), {.priority = FetchPriority::kBackground});
  EXPECT_EQ(copies->done.get_future().get().verified, 10U);
  EXPECT_LT(requests->arrived, 200) << "it did not wait for all of them";
  EXPECT_EQ(requests->done.get_future().get().verified, 200U);
}

TEST_F(FetchOrderTest, AFetchThatLacksAChunkHasThePrefixBeforeIt) {
  auto chunks = open(1, 6);
  chunks[3].ref.key.chunk_hash.bytes.fill(0xee);
  const auto running = fetch(chunks, {});
  const FetchSummary summary = running->done.get_future().get();
  EXPECT_EQ(summary.verified, 5U);
  EXPECT_EQ(summary.verified_prefix, 3U);
}

TEST_F(FetchOrderTest, AtItsDeadlineAFetchHasThePrefixThatArrived) {
  const auto chunks = open(1, 300);
  const auto running = fetch(chunks, {.timeout = std::chrono::milliseconds(10)});
  const FetchSummary summary = running->done.get_future().get();
  EXPECT_EQ(summary.verified_prefix, ok_prefix(*running));
  EXPECT_EQ(summary.verified, static_cast<size_t>(running->arrived));
  for (size_t i = 0; i < summary.verified_prefix; ++i) pair.expect_content(chunks[i]);
  EXPECT_TRUE(eventually([&] { return pair.prefill->stats().leases_active == 0; }));
}

TEST_F(FetchOrderTest, AnEmptyFetchIsDoneWithNothing) {
  const auto running = fetch({}, {});
  EXPECT_EQ(running->done.get_future().get().verified_prefix, 0U);
}

TEST_F(FetchOrderTest, MoreItemsThanAPeerTakesAreAskedForBitByBit) {
  std::vector<PromptChunk> none(140'000, open(1, 1)[0]);
  for (PromptChunk& chunk : none) chunk.ref.key.chunk_hash.bytes.fill(0xee);
  const auto running = fetch(none, {});
  EXPECT_EQ(running->done.get_future().get().verified, 0U);
  std::vector<Status> ends;
  for (const auto& end : running->ends) ends.push_back(end.value_or(Status()));
  EXPECT_THAT(ends, Each(StatusIs(StatusCode::kNotFound)));
  EXPECT_EQ(pair.decode->peers().size(), 1U);
}

TEST_F(FetchOrderTest, ACancelledFetchOfManyIsNotServedToItsEnd) {
  const auto running = fetch(open(1, 300), {});
  EXPECT_TRUE(eventually([&] { return running->arrived > 3; }));
  pair.decode->cancel(running->id);
  const FetchSummary summary = running->done.get_future().get();
  EXPECT_EQ(summary.verified_prefix, ok_prefix(*running));
  EXPECT_TRUE(eventually(
      [&] { return pair.prefill->stats().leases_active == 0 && pair.provider->num_open() == 0; }));
  const auto next = fetch(open(500'000, 1), {});
  EXPECT_EQ(next->done.get_future().get().verified, 1U);
}

}  // namespace
}  // namespace kvferry
