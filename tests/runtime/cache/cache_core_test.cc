#include "runtime/cache/cache_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "tests/support/cache_bench.h"
#include "tests/support/eventually.h"

namespace kvferry {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int64_t kChunk = 256;

TEST(CacheCore, WhatIsStoredComesBackByteForByteIntoOtherPages) {
  for (const bool has_memory : {true, false}) {
    CacheBench bench({.has_memory = has_memory});
    const auto source = bench.filled(CacheBench::prompt(8 * kChunk + 100, 1));
    const StoreResult stored = bench.store(source);
    EXPECT_THAT(stored.status, IsOk());
    EXPECT_EQ(stored.chunks, 8U);
    EXPECT_EQ(stored.stored, 8U);

    const auto target = bench.poisoned(source.tokens);
    const RetrieveResult got = bench.retrieve(target);
    EXPECT_THAT(got.status, IsOk());
    EXPECT_EQ(got.tokens, 8 * kChunk);
    EXPECT_TRUE(bench.holds(target, got.tokens));
    EXPECT_TRUE(
        are_poisoned(bench.pages->layout(), std::span(target.slots).subspan(8 * kChunk)).value());
    EXPECT_EQ(got.sink_tokens.front(), 8 * kChunk);
  }
}

TEST(CacheCore, OneGatherFeedsEverySinkByReference) {
  CacheBench bench({.num_stores = 3, .pool_chunks = 4});
  for (ScriptedBackend* store : bench.stores) store->holds_puts = true;
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  auto operation = bench.core->store(source.paged(), {});
  ASSERT_TRUE(eventually([&] { return bench.stores[2]->num_held() == 2; }));
  EXPECT_EQ(bench.pool->usage().used_slots, 2U) << "one object for four sinks";
  for (ScriptedBackend* store : bench.stores) store->release_held();
  EXPECT_EQ(operation.wait().stored, 2U);
  for (ScriptedBackend* store : bench.stores) EXPECT_EQ(store->size(), 2U);
}

TEST(CacheCore, PagesAreFreeAfterTheGatherAlthoughSinksAreStillAtIt) {
  CacheBench bench({});
  bench.stores[0]->holds_puts = true;
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  std::atomic<bool> are_read{false};
  StoreOptions options;
  options.on_pages_read = [&] { are_read = true; };
  auto operation = bench.core->store(source.paged(), std::move(options));
  ASSERT_TRUE(eventually([&] { return are_read.load(); }));
  EXPECT_FALSE(operation.is_done());
  EXPECT_THAT(poison_slots(bench.pages->layout(), source.slots), IsOk());
  bench.stores[0]->release_held();
  operation.wait();
  const auto target = bench.poisoned(source.tokens);
  EXPECT_EQ(bench.retrieve(target).tokens, 2 * kChunk);
  EXPECT_TRUE(bench.holds(target, 2 * kChunk));
}

TEST(CacheCore, AGapEndsThePrefix) {
  CacheBench bench({.has_memory = false});
  const auto source = bench.filled(CacheBench::prompt(6 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->erase(source.key(3));
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 3 * kChunk);
  const auto target = bench.poisoned(source.tokens);
  const RetrieveResult got = bench.retrieve(target);
  EXPECT_EQ(got.tokens, 3 * kChunk);
  EXPECT_THAT(got.status, IsOk());
  EXPECT_TRUE(bench.holds(target, got.tokens));
}

TEST(CacheCore, TiersFillOneAnothersGaps) {
  CacheBench bench({.has_memory = false, .num_stores = 2});
  const auto source = bench.filled(CacheBench::prompt(6 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->erase(source.key(1));
  bench.stores[0]->erase(source.key(4));
  bench.stores[1]->erase(source.key(5));
  const LookupResult found = bench.core->lookup(source.tokens, false);
  EXPECT_EQ(found.tokens, 6 * kChunk);
  EXPECT_EQ(found.sink_tokens, (std::vector<int64_t>{4 * kChunk, 2 * kChunk}));
  const auto target = bench.poisoned(source.tokens);
  const RetrieveResult got = bench.retrieve(target);
  EXPECT_EQ(got.tokens, 6 * kChunk);
  EXPECT_EQ(got.sink_tokens, found.sink_tokens);
  EXPECT_TRUE(bench.holds(target, got.tokens));
}

TEST(CacheCore, AFlippedBitIsAMissAndTakenOut) {
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

TEST(CacheCore, AFlippedBitInOneTierIsReadFromTheNext) {
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

TEST(CacheCore, AnotherChunksRecordIsAMiss) {
  CacheBench bench({.has_memory = false});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->exchange(source.key(1), source.key(2));
  EXPECT_EQ(bench.retrieve(bench.poisoned(source.tokens)).tokens, kChunk);
}

TEST(CacheCore, AHitIsPromotedToMemory) {
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

TEST(CacheCore, EqualChunksInFlightAreFetchedOnce) {
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

TEST(CacheCore, TheNextChunkIsReadWhileOneIsScatteredHoweverLargeTheyAre) {
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

TEST(CacheCore, ALateReadIsAMissAndTouchesNoPageAfterwards) {
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

TEST(CacheCore, ACancelledRetrieveEndsWithWhatIsGood) {
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

TEST(CacheCore, ACancelledRetrieveWithdrawsWhatIsQueued) {
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

TEST(CacheCore, AStuckSinkTakesNothingFromTheOthers) {
  SinkLimits sinks;
  sinks.max_in_flight_bytes = size_t{4} << 20;
  CacheBench bench({.num_stores = 2, .pool_chunks = 32, .sinks = sinks});
  bench.stores[0]->holds_puts = true;
  StoreResult all;
  for (uint32_t seed = 0; seed < 16; ++seed) {
    const auto source = bench.filled(CacheBench::prompt(4 * kChunk, seed));
    StoreOptions options;
    options.timeout = seconds(2);
    const StoreResult stored = bench.core->store(source.paged(), std::move(options)).wait();
    all.stored += stored.stored;
    bench.give_back(source);
    const auto target = bench.poisoned(source.tokens);
    EXPECT_EQ(bench.retrieve(target).tokens, 4 * kChunk);
    EXPECT_TRUE(bench.holds(target, 4 * kChunk));
    bench.give_back(target);
  }
  EXPECT_EQ(bench.stores[1]->size(), 64U);
  EXPECT_LE(bench.stores[0]->num_held(), 4U) << "half of its bound, in chunks of 512 KiB";
}

TEST(CacheCore, MoreThanMemoryHoldsStillReachesTheStore) {
  CacheBench bench({.pool_chunks = 3});
  const auto source = bench.filled(CacheBench::prompt(20 * kChunk, 1));
  const StoreResult stored = bench.store(source);
  EXPECT_EQ(stored.stored, 20U);
  EXPECT_EQ(bench.stores[0]->size(), 20U);
  const auto target = bench.poisoned(source.tokens);
  EXPECT_EQ(bench.retrieve(target).tokens, 20 * kChunk);
  EXPECT_TRUE(bench.holds(target, 20 * kChunk));
  EXPECT_LE(bench.pool->usage().peak_used_slots, 3U);
}

TEST(CacheCore, TokensThatTheEngineHasAreLeftAlone) {
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

TEST(CacheCore, TheLastChunkNeedNotBeFull) {
  CacheBench bench({.has_memory = false, .partial_chunks = true});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk + 77, 1));
  EXPECT_EQ(bench.store(source).stored, 3U);
  const auto target = bench.poisoned(source.tokens);
  EXPECT_EQ(bench.retrieve(target).tokens, 2 * kChunk + 77);
  EXPECT_TRUE(bench.holds(target, 2 * kChunk + 77));
}

TEST(CacheCore, LayerByLayerEachLayerIsThereWhenItIsSaidToBe) {
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

TEST(CacheCore, ALayerThatIsWrongShortensThePrefixFromThereOn) {
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

TEST(CacheCore, LayersAreReadWhenTheyAreComplete) {
  CacheBench bench({.has_memory = false});
  const auto source = bench.filled(CacheBench::prompt(3 * kChunk, 1));
  const std::vector<KVPlane> planes = bench.pages->layout().groups.front().planes;
  const auto bytes_of = [&](const KVPlane& plane) {
    return std::span(plane.base, static_cast<size_t>(plane.block_stride_bytes) *
                                     static_cast<size_t>(std::ranges::max(source.blocks) + 1));
  };
  // Layer by layer, only the one that is said to be complete has its bytes in the pages.
  std::vector<std::vector<std::byte>> computed;
  for (const KVPlane& plane : planes) {
    const auto bytes = bytes_of(plane);
    computed.emplace_back(bytes.begin(), bytes.end());
  }
  EXPECT_THAT(poison_slots(bench.pages->layout(), source.slots), IsOk());
  StoreOptions options;
  options.layers = std::make_shared<LayerProgress>();
  std::atomic<bool> are_read{false};
  options.on_pages_read = [&] { are_read = true; };
  const auto layers = options.layers;
  auto operation = bench.core->store(source.paged(), std::move(options));
  ASSERT_TRUE(eventually([&] { return bench.pool->usage().used_slots == 3; }));
  const int32_t last = planes.back().layer;
  for (int32_t layer = 0; layer <= last; ++layer) {
    EXPECT_FALSE(operation.is_done());
    EXPECT_FALSE(are_read);
    for (size_t i = 0; i < planes.size(); ++i) {
      if (planes[i].layer == layer) std::ranges::copy(computed[i], bytes_of(planes[i]).begin());
    }
    layers->complete(layer);
    bench.drain();
    EXPECT_THAT(poison_slots(bench.pages->layout(), source.slots), IsOk());
  }
  EXPECT_EQ(operation.wait().stored, 3U);
  EXPECT_TRUE(are_read);
  layers->complete(last + 1);  // harmless
  const auto target = bench.poisoned(source.tokens);
  EXPECT_EQ(bench.retrieve(target).tokens, 3 * kChunk);
  EXPECT_TRUE(bench.holds(target, 3 * kChunk));
}

TEST(CacheCore, LayersThatAreNeverCompleteAreNotStored) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(3 * kChunk, 1));
  StoreOptions options;
  options.timeout = milliseconds(100);
  options.layers = std::make_shared<LayerProgress>();
  options.layers->complete(1);
  std::atomic<bool> are_read{false};
  options.on_pages_read = [&] { are_read = true; };
  const StoreResult got = bench.core->store(source.paged(), std::move(options)).wait();
  EXPECT_EQ(got.status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(got.lost, 3U);
  EXPECT_TRUE(are_read);
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 0);
  EXPECT_EQ(bench.store(source).stored, 3U) << "nothing of it is left over";
}

TEST(CacheCore, MoreLayersThanMemoryHasRoomForAreReadChunkByChunk) {
  CacheBench bench({.has_memory = false, .pool_chunks = 4});
  const auto source = bench.filled(CacheBench::prompt(9 * kChunk, 1));
  StoreOptions options;
  options.layers = std::make_shared<LayerProgress>();
  const auto layers = options.layers;
  auto operation = bench.core->store(source.paged(), std::move(options));
  for (int32_t layer = 0; layer < 4; ++layer) layers->complete(layer);
  EXPECT_EQ(operation.wait().stored, 9U);
  EXPECT_EQ(bench.stores[0]->size(), 9U);
}

TEST(CacheCore, PinnedChunksOutliveEvictionUntilTheLookupGoes) {
  CacheBench bench({.num_stores = 0, .pool_chunks = 8});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  LookupResult pinned = bench.core->lookup(source.tokens, true);
  EXPECT_EQ(pinned.tokens, 4 * kChunk);
  for (uint32_t seed = 10; seed < 20; ++seed) {
    const auto other = bench.filled(CacheBench::prompt(4 * kChunk, seed));
    bench.store(other);
    bench.give_back(other);
  }
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 4 * kChunk);
  pinned.pins.reset();
  for (uint32_t seed = 20; seed < 30; ++seed) {
    const auto other = bench.filled(CacheBench::prompt(4 * kChunk, seed));
    bench.store(other);
    bench.give_back(other);
  }
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 0);
}

TEST(CacheCore, PinsThatAreForgottenGoAfterTheirTime) {
  CacheLimits limits;
  limits.pin_timeout = milliseconds(50);
  CacheBench bench({.num_stores = 0, .limits = limits});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  const StorageBackend& memory = bench.core->sinks()[0]->backend();
  std::vector<LookupResult> forgotten;
  for (int i = 0; i < 3; ++i) forgotten.push_back(bench.core->lookup(source.tokens, true));
  EXPECT_EQ(forgotten.back().tokens, 4 * kChunk);
  EXPECT_TRUE(eventually([&] { return memory.usage().pinned_entries == 0; }));
}

TEST(CacheCore, PrefetchBringsChunksIntoMemoryVerified) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  StorageBackend& memory = bench.core->sinks()[0]->backend();
  for (size_t i = 0; i < 4; ++i) memory.remove(source.key(i));
  bench.stores[0]->corrupt(source.key(2), 99);
  const PrefetchResult got = bench.core->prefetch(source.tokens).wait();
  EXPECT_EQ(got.tokens, 2 * kChunk);
  EXPECT_EQ(got.fetched, 3U);
  ASSERT_TRUE(eventually([&] { return memory.contains(source.key(3)); }));
  EXPECT_FALSE(memory.contains(source.key(2)));
  EXPECT_FALSE(bench.stores[0]->has(source.key(2)));
}

TEST(CacheCore, PrefetchesPastTheirBoundAreRefused) {
  CacheLimits limits;
  limits.prefetch_max_in_flight_bytes = size_t{1} << 20;  // two chunks
  CacheBench bench({.limits = limits});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  StorageBackend& memory = bench.core->sinks()[0]->backend();
  for (size_t i = 0; i < 4; ++i) memory.remove(source.key(i));
  bench.stores[0]->holds_gets = true;
  auto operation = bench.core->prefetch(source.tokens);
  ASSERT_TRUE(eventually([&] { return bench.stores[0]->num_held() == 2; }));
  bench.stores[0]->release_held();
  const PrefetchResult got = operation.wait();
  EXPECT_EQ(got.refused, 2U);
  EXPECT_EQ(got.tokens, 2 * kChunk);
}

TEST(CacheCore, ClearTakesAPromptOutOfEverySink) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  EXPECT_EQ(bench.core->clear(source.tokens), 4U);
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 0);
  EXPECT_EQ(bench.stores[0]->size(), 0U);
  EXPECT_EQ(bench.core->clear(source.tokens), 0U);
}

TEST(CacheCore, WhatIsBeingStoredDoesNotComeBackAfterAClear) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  bench.stores[0]->holds_puts = true;
  auto operation = bench.core->store(source.paged(), {});
  ASSERT_TRUE(eventually([&] { return bench.stores[0]->num_held() == 2; }));
  std::thread clearing([&] { EXPECT_EQ(bench.core->clear(source.tokens), 2U); });
  bench.drain();
  bench.stores[0]->release_held();
  clearing.join();
  operation.wait();
  EXPECT_EQ(bench.stores[0]->size(), 0U);
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 0);
}

TEST(CacheCore, WhatIsBeingGatheredIsNotPutAfterAClear) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  StoreOptions options;
  options.layers = std::make_shared<LayerProgress>();
  const auto layers = options.layers;
  auto operation = bench.core->store(source.paged(), std::move(options));
  ASSERT_TRUE(eventually([&] { return bench.pool->usage().used_slots == 2; }));
  EXPECT_EQ(bench.core->clear(source.tokens), 0U);
  layers->complete(100);
  const StoreResult stored = operation.wait();
  EXPECT_EQ(stored.lost, 2U);
  EXPECT_EQ(stored.status.code(), StatusCode::kCancelled);
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 0);
}

TEST(CacheCore, WhatWasReadBeforeAClearIsNotPromotedAfterIt) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  bench.store(source);
  StorageBackend& memory = bench.core->sinks()[0]->backend();
  for (size_t i = 0; i < 2; ++i) memory.remove(source.key(i));
  bench.stores[0]->holds_gets = true;
  bench.stores[0]->answers_late = true;
  const auto target = bench.poisoned(source.tokens);
  auto operation = bench.core->retrieve(target.paged(), {});
  ASSERT_TRUE(eventually([&] { return bench.stores[0]->num_held() == 2; }));
  EXPECT_EQ(bench.core->clear(source.tokens), 2U);
  bench.stores[0]->release_held();
  EXPECT_EQ(operation.wait().tokens, 2 * kChunk) << "it was under way";
  bench.drain();
  EXPECT_FALSE(memory.contains(source.key(0)));
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 0);
}

TEST(CacheCore, WhatIsReadWhileItIsClearedIsNotPromoted) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->holds_removes = true;
  std::thread clearing([&] { EXPECT_EQ(bench.core->clear(source.tokens), 2U); });
  EXPECT_TRUE(eventually([&] { return bench.stores[0]->num_held() == 2; }));
  const auto target = bench.poisoned(source.tokens);
  EXPECT_EQ(bench.retrieve(target).tokens, 2 * kChunk) << "it is still there";
  bench.stores[0]->release_held();
  clearing.join();
  bench.drain();
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 0);
}

TEST(CacheCore, APutThatEndsAfterItsDeadlineIsNotFound) {
  SinkLimits sinks;
  sinks.put_timeout = milliseconds(50);
  CacheBench bench({.has_memory = false, .sinks = sinks});
  bench.stores[0]->holds_puts = true;
  const auto source = bench.filled(CacheBench::prompt(kChunk, 1));
  EXPECT_EQ(bench.store(source).lost, 1U);
  bench.stores[0]->release_held();
  EXPECT_TRUE(eventually([&] { return bench.core->stats().sinks[0].late_items == 1; }));
  EXPECT_EQ(bench.stores[0]->size(), 0U) << "the store was told that it failed";
}

TEST(CacheCore, ASinkThatFailsIsAMissByItsCause) {
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

TEST(CacheCore, APutThatFailsIsNotVisibleAndSaysSo) {
  CacheBench bench({.has_memory = false});
  bench.stores[0]->fails_puts = true;
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  const StoreResult stored = bench.store(source);
  EXPECT_EQ(stored.stored, 0U);
  EXPECT_EQ(stored.lost, 2U);
  EXPECT_EQ(stored.failed_puts, 2U);
  EXPECT_EQ(stored.status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 0);
}

TEST(CacheCore, BadPagesAreRefusedAndNothingIsHalfDone) {
  CacheBench bench({});
  auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  EXPECT_EQ(
      bench.core->store({source.tokens, std::span(source.slots).first(5)}, {}).wait().status.code(),
      StatusCode::kInvalidArgument);
  EXPECT_EQ(bench.core->retrieve({source.tokens, std::span(source.slots).first(5)}, {})
                .wait()
                .status.code(),
            StatusCode::kInvalidArgument);
  source.slots[300] = int64_t{1} << 40;
  const StoreResult stored = bench.store(source);
  EXPECT_EQ(stored.status.code(), StatusCode::kOutOfRange);
  EXPECT_EQ(stored.stored, 1U);
  EXPECT_EQ(stored.lost, 1U);
  source.slots[300] = -1;
  EXPECT_EQ(bench.store(source).status.code(), StatusCode::kInvalidArgument);
}

TEST(CacheCore, AHungTierLeavesTimeForTheNext) {
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

TEST(CacheCore, WhoJoinedAFetchThatFailsLooksForItself) {
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

TEST(CacheCore, AnObjectUnderAnotherChunksKeyIsNotServedFromMemoryEither) {
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

TEST(CacheCore, ExtraKeysKeepEqualTokensApart) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(kChunk, 1));
  const std::vector<std::string> cat = {"image of a cat"};
  const std::vector<std::string> dog = {"image of a dog"};
  EXPECT_EQ(bench.core->store({source.tokens, source.slots, cat}, {}).wait().stored, 1U);
  EXPECT_EQ(bench.core->lookup(source.tokens, false, cat).tokens, kChunk);
  EXPECT_EQ(bench.core->lookup(source.tokens, false, dog).tokens, 0);
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 0);
}

TEST(CacheCore, ASinkThatCannotSayWhatItHoldsIsNotTakenForOneThatHolds) {
  CacheBench bench({.has_memory = false});
  bench.stores[0]->fails_contains = true;
  const auto source = bench.filled(CacheBench::prompt(kChunk, 1));
  const StoreResult stored = bench.store(source);
  EXPECT_EQ(stored.status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(bench.stores[0]->puts, 0);
}

TEST(CacheCore, ATimeoutWithoutEndIsNone) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(kChunk, 1));
  StoreOptions options;
  options.timeout = Duration::max();
  EXPECT_EQ(bench.core->store(source.paged(), std::move(options)).wait().stored, 1U);
}

TEST(CacheCore, ClosingEndsWhatIsUnderWay) {
  CacheBench bench({.has_memory = false});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->holds_gets = true;
  const auto target = bench.poisoned(source.tokens);
  auto operation = bench.core->retrieve(target.paged(), {});
  ASSERT_TRUE(eventually([&] { return bench.stores[0]->num_held() == 2; }));
  bench.close();
  EXPECT_EQ(operation.wait().status.code(), StatusCode::kCancelled);
}

}  // namespace
}  // namespace kvferry
