#include "runtime/cache/retrieve_operation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/cache_bench.h"
#include "tests/support/eventually.h"

namespace kvferry {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kChunk = 256;

TEST(RetrieveOperation, AFlippedBitIsAMissAndTakenOut) {
  CacheBench bench({.has_memory = false});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->corrupt(source.key(3), 12345);
  const auto target = bench.poisoned(source.tokens);
  const RetrieveResult got = bench.retrieve(target);
  EXPECT_EQ(got.tokens, 3 * kChunk);
  EXPECT_TRUE(bench.holds(target, got.tokens));
  EXPECT_FALSE(bench.stores[0]->has(source.key(3)));
  const CacheStats stats = bench.core->stats();
  EXPECT_EQ(stats.mismatched_chunks, 1U);
  EXPECT_EQ(stats.sinks[0].hits, 3U) << "what it gave and was no good is a miss, not a hit";
  EXPECT_THAT(stats.sinks[0].misses, ::testing::Contains(::testing::Pair("data_loss", 1U)));
}

TEST(RetrieveOperation, AFlippedBitInOneTierIsReadFromTheNext) {
  CacheBench bench({.has_memory = false, .num_stores = 2});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->corrupt(source.key(0), 0);
  const auto target = bench.poisoned(source.tokens);
  const RetrieveResult got = bench.retrieve(target);
  EXPECT_EQ(got.tokens, 4 * kChunk);
  EXPECT_TRUE(bench.holds(target, got.tokens));
  EXPECT_EQ(got.sink_tokens, (std::vector<int64_t>{3 * kChunk, kChunk}));
}

TEST(RetrieveOperation, AnotherChunksRecordIsAMiss) {
  CacheBench bench({.has_memory = false});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->exchange(source.key(1), source.key(2));
  EXPECT_EQ(bench.retrieve(bench.poisoned(source.tokens)).tokens, kChunk);
}

TEST(RetrieveOperation, AHitIsPromotedToMemory) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  StorageBackend& memory = bench.core->sinks()[0]->backend();
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(memory.remove(source.key(i)));
  EXPECT_EQ(bench.retrieve(bench.poisoned(source.tokens)).sink_tokens[1], 4 * kChunk);
  ASSERT_TRUE(eventually([&] { return memory.contains(source.key(3)); }));
  const auto target = bench.poisoned(source.tokens);
  EXPECT_EQ(bench.retrieve(target).sink_tokens[0], 4 * kChunk);
  EXPECT_TRUE(bench.holds(target, 4 * kChunk));
}

TEST(RetrieveOperation, EqualChunksInFlightAreFetchedOnce) {
  CacheBench bench({.has_memory = false});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->holds_gets = true;
  const auto first = bench.poisoned(source.tokens);
  const auto second = bench.poisoned(source.tokens);
  auto one = bench.core->retrieve(first.paged(), {});
  auto two = bench.core->retrieve(second.paged(), {});
  ASSERT_TRUE(eventually([&] { return bench.core->stats().shared_fetches == 2; }));
  bench.stores[0]->release_held();
  EXPECT_EQ(one.wait().tokens, 2 * kChunk);
  EXPECT_EQ(two.wait().tokens, 2 * kChunk);
  EXPECT_EQ(bench.stores[0]->gets, 2);
  EXPECT_TRUE(bench.holds(first, 2 * kChunk));
  EXPECT_TRUE(bench.holds(second, 2 * kChunk));
}

TEST(RetrieveOperation, TheNextChunkIsReadWhileOneIsScatteredHoweverLargeTheyAre) {
  CacheLimits limits;
  limits.read_ahead_bytes = 1;
  CacheBench bench({.has_memory = false, .limits = limits});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->holds_gets = true;
  const auto target = bench.poisoned(source.tokens);
  auto operation = bench.core->retrieve(target.paged(), {});
  ASSERT_TRUE(eventually([&] { return bench.stores[0]->num_held() == 2; }));
  bench.stores[0]->release_held();
  EXPECT_EQ(operation.wait().tokens, 4 * kChunk);
  EXPECT_TRUE(bench.holds(target, 4 * kChunk));
}

TEST(RetrieveOperation, ALateReadIsAMissAndTouchesNoPageAfterwards) {
  CacheBench bench({.has_memory = false});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->holds_gets = true;
  const auto target = bench.poisoned(source.tokens);
  RetrieveOptions options;
  options.timeout = milliseconds(30);
  const RetrieveResult got = bench.core->retrieve(target.paged(), std::move(options)).wait();
  EXPECT_EQ(got.tokens, 0);
  EXPECT_EQ(got.status.code(), StatusCode::kDeadlineExceeded);
  bench.stores[0]->release_held();
  ASSERT_TRUE(eventually([&] { return bench.pool->usage().used_slots == 0; }));
  EXPECT_TRUE(are_poisoned(bench.pages->layout(), target.slots).value());
}

TEST(RetrieveOperation, ACancelledRetrieveEndsWithWhatIsGood) {
  CacheBench bench({.has_memory = false, .num_stores = 1});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->holds_gets = true;
  const auto target = bench.poisoned(source.tokens);
  auto operation = bench.core->retrieve(target.paged(), {});
  ASSERT_TRUE(eventually([&] { return bench.stores[0]->num_held() == 2; }));
  operation.cancel();
  const RetrieveResult got = operation.wait();
  EXPECT_EQ(got.status.code(), StatusCode::kCancelled);
  EXPECT_EQ(got.tokens, 0);
  operation.cancel();  // harmless
}

TEST(RetrieveOperation, ACancelledRetrieveWithdrawsWhatIsQueued) {
  SinkLimits sinks;
  sinks.max_in_flight_bytes = 1;  // one chunk at a time
  CacheBench bench({.has_memory = false, .num_stores = 1, .sinks = sinks});
  const auto source = bench.filled(CacheBench::prompt(8 * kChunk, 1));
  // With so little room the sink refuses some of them, the first time.
  ASSERT_TRUE(eventually([&] { return bench.store(source).held == 8; }));
  bench.stores[0]->holds_gets = true;
  const auto target = bench.poisoned(source.tokens);
  const auto other_target = bench.poisoned(source.tokens);
  auto cancelled = bench.core->retrieve(target.paged(), {});
  ASSERT_TRUE(eventually([&] { return bench.core->stats().sinks[0].queued_items == 7; }));
  PagedTokens half = other_target.paged();
  half.tokens = half.tokens.first(4 * kChunk);
  half.slots = half.slots.first(4 * kChunk);
  auto other = bench.core->retrieve(half, {});
  ASSERT_TRUE(eventually([&] { return bench.core->stats().shared_fetches == 4; }));
  cancelled.cancel();
  EXPECT_EQ(cancelled.wait().tokens, 0);
  EXPECT_TRUE(eventually([&] { return bench.core->stats().sinks[0].queued_items == 3; }))
      << "those that the other waits for";
  bench.stores[0]->release_held();
  EXPECT_EQ(other.wait().tokens, 4 * kChunk);
  EXPECT_TRUE(bench.holds(other_target, 4 * kChunk));
  EXPECT_EQ(bench.stores[0]->gets, 4);
}

TEST(RetrieveOperation, TokensThatTheEngineHasAreLeftAlone) {
  CacheBench bench({.has_memory = false});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->erase(source.key(0));  // not needed
  auto target = bench.poisoned(source.tokens);
  const std::vector<int64_t> slots = target.slots;
  std::fill_n(target.slots.begin(), kChunk + 10, -1);
  const RetrieveResult got = bench.retrieve(target);
  EXPECT_EQ(got.tokens, 4 * kChunk);
  EXPECT_EQ(got.sink_tokens[0], 3 * kChunk);
  EXPECT_TRUE(are_poisoned(bench.pages->layout(), std::span(slots).first(kChunk + 10)).value());
  target.slots = slots;
  EXPECT_FALSE(bench.holds(target, kChunk));
}

TEST(RetrieveOperation, LayerByLayerEachLayerIsThereWhenItIsSaidToBe) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(3 * kChunk, 1));
  bench.store(source);
  const auto target = bench.poisoned(source.tokens);
  std::vector<std::pair<int32_t, int64_t>> layers;
  RetrieveOptions options;
  options.on_layer = [&](int32_t layer, int64_t tokens) { layers.emplace_back(layer, tokens); };
  const RetrieveResult got = bench.core->retrieve(target.paged(), std::move(options)).wait();
  EXPECT_EQ(got.tokens, 3 * kChunk);
  EXPECT_TRUE(bench.holds(target, 3 * kChunk));
  const std::vector<std::pair<int32_t, int64_t>> expected = {
      {0, 3 * kChunk}, {1, 3 * kChunk}, {2, 3 * kChunk}, {3, 3 * kChunk}};
  EXPECT_EQ(layers, expected);
}

TEST(RetrieveOperation, ALayerThatIsWrongShortensThePrefixFromThereOn) {
  CacheBench bench({.has_memory = false});
  const auto source = bench.filled(CacheBench::prompt(3 * kChunk, 1));
  bench.store(source);
  // Layers are contiguous: this is in the third of four.
  bench.stores[0]->corrupt(source.key(1), bench.space->chunk_bytes() / 4 * 2 + 5);
  const auto target = bench.poisoned(source.tokens);
  std::vector<int64_t> tokens;
  RetrieveOptions options;
  options.on_layer = [&](int32_t, int64_t good) { tokens.push_back(good); };
  const RetrieveResult got = bench.core->retrieve(target.paged(), std::move(options)).wait();
  EXPECT_EQ(got.tokens, kChunk);
  EXPECT_TRUE(bench.holds(target, kChunk));
  EXPECT_EQ(tokens, (std::vector<int64_t>{3 * kChunk, 3 * kChunk, kChunk, kChunk}));
}

TEST(RetrieveOperation, ASinkThatFailsIsAMissByItsCause) {
  CacheBench bench({.has_memory = false, .num_stores = 2});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->fails_gets = true;
  const auto target = bench.poisoned(source.tokens);
  EXPECT_EQ(bench.retrieve(target).tokens, 2 * kChunk);
  const CacheStats stats = bench.core->stats();
  const auto& misses = stats.sinks[0].misses;
  EXPECT_THAT(misses, ::testing::Contains(std::make_pair(std::string("unavailable"), 2U)));
}

TEST(RetrieveOperation, AHungTierLeavesTimeForTheNext) {
  CacheBench bench({.has_memory = false, .num_stores = 2});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->holds_gets = true;
  const auto target = bench.poisoned(source.tokens);
  RetrieveOptions options;
  options.timeout = milliseconds(400);
  const RetrieveResult got = bench.core->retrieve(target.paged(), std::move(options)).wait();
  EXPECT_EQ(got.tokens, 2 * kChunk);
  EXPECT_EQ(got.sink_tokens, (std::vector<int64_t>{0, 2 * kChunk}));
  EXPECT_TRUE(bench.holds(target, 2 * kChunk));
}

TEST(RetrieveOperation, WhoJoinedAFetchThatFailsLooksForItself) {
  CacheBench bench({.has_memory = false});
  const auto source = bench.filled(CacheBench::prompt(kChunk, 1));
  bench.store(source);
  bench.stores[0]->holds_gets = true;
  const auto first = bench.poisoned(source.tokens);
  const auto second = bench.poisoned(source.tokens);
  RetrieveOptions options;
  options.timeout = milliseconds(50);
  auto hasty = bench.core->retrieve(first.paged(), std::move(options));
  auto patient = bench.core->retrieve(second.paged(), {});
  ASSERT_TRUE(eventually([&] { return bench.core->stats().shared_fetches == 1; }));
  EXPECT_EQ(hasty.wait().tokens, 0);
  ASSERT_TRUE(eventually([&] { return bench.stores[0]->gets == 2; }));
  bench.stores[0]->release_held();
  EXPECT_EQ(patient.wait().tokens, kChunk);
  EXPECT_TRUE(bench.holds(second, kChunk));
}

TEST(RetrieveOperation, AnObjectUnderAnotherChunksKeyIsNotServedFromMemoryEither) {
  CacheBench bench({.num_stores = 0});
  const auto source = bench.filled(CacheBench::prompt(kChunk, 1));
  const auto other = bench.filled(CacheBench::prompt(kChunk, 2));
  bench.store(source);
  StorageBackend& memory = bench.core->sinks()[0]->backend();
  const MemoryObjPtr obj = memory.get_blocking(source.key(0));
  memory.batched_submit_put_task(std::span(&other.key(0), 1), std::span(&obj, 1));
  const auto target = bench.poisoned(other.tokens);
  EXPECT_EQ(bench.retrieve(target).tokens, 0);
  EXPECT_TRUE(are_poisoned(bench.pages->layout(), target.slots).value());
  EXPECT_EQ(bench.core->stats().mismatched_chunks, 1U);
}

}  // namespace
}  // namespace kvferry
