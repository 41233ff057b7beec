#include "runtime/cache/cache_core.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/cache_bench.h"
#include "tests/support/eventually.h"

namespace kvferry {
namespace {

using std::chrono::milliseconds;

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

TEST(CacheCore, TheLastChunkNeedNotBeFull) {
  CacheBench bench({.has_memory = false, .partial_chunks = true});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk + 77, 1));
  EXPECT_EQ(bench.store(source).stored, 3U);
  const auto target = bench.poisoned(source.tokens);
  EXPECT_EQ(bench.retrieve(target).tokens, 2 * kChunk + 77);
  EXPECT_TRUE(bench.holds(target, 2 * kChunk + 77));
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
  forgotten.reserve(3);
  for (int i = 0; i < 3; ++i) forgotten.push_back(bench.core->lookup(source.tokens, true));
  EXPECT_EQ(forgotten.back().tokens, 4 * kChunk);
  EXPECT_TRUE(eventually([&] { return memory.usage().pinned_entries == 0; }));
  EXPECT_TRUE(eventually([&] { return bench.core->stats().timed_out_pins == 12; }));
  forgotten.clear();
  EXPECT_EQ(bench.core->stats().timed_out_pins, 12U) << "counted once, chunk by chunk";
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
  ASSERT_TRUE(eventually([&] { return bench.core->stats().refused_prefetch_chunks == 2; }));
  EXPECT_EQ(bench.core->stats().prefetch_in_flight_bytes, 2 * bench.space->chunk_bytes());
  EXPECT_EQ(bench.core->stats().max_prefetch_in_flight_bytes, limits.prefetch_max_in_flight_bytes);
  ASSERT_TRUE(eventually([&] { return bench.stores[0]->num_held() == 2; }));
  bench.stores[0]->release_held();
  const PrefetchResult got = operation.wait();
  EXPECT_EQ(got.refused, 2U);
  EXPECT_EQ(got.tokens, 2 * kChunk);
  EXPECT_EQ(bench.core->stats().prefetch_in_flight_bytes, 0U);
}

TEST(CacheCore, ClearTakesAPromptOutOfEverySink) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  EXPECT_EQ(bench.core->clear(source.tokens).chunks, 4U);
  EXPECT_EQ(bench.core->lookup(source.tokens, false).tokens, 0);
  EXPECT_EQ(bench.stores[0]->size(), 0U);
  EXPECT_EQ(bench.core->clear(source.tokens).chunks, 0U);
}

TEST(CacheCore, ClearSaysWhatMayBeLeft) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(4 * kChunk, 1));
  bench.store(source);
  bench.stores[0]->fails_removes = true;
  const ClearResult cleared = bench.core->clear(source.tokens);
  EXPECT_THAT(cleared.status, StatusIs(StatusCode::kUnavailable, testing::HasSubstr("sink ")));
  bench.stores[0]->fails_removes = false;
  EXPECT_THAT(bench.core->clear(source.tokens).status, IsOk());
  EXPECT_EQ(bench.stores[0]->size(), 0U);
}

TEST(CacheCore, WhatIsBeingStoredDoesNotComeBackAfterAClear) {
  CacheBench bench({});
  const auto source = bench.filled(CacheBench::prompt(2 * kChunk, 1));
  bench.stores[0]->holds_puts = true;
  auto operation = bench.core->store(source.paged(), {});
  ASSERT_TRUE(eventually([&] { return bench.stores[0]->num_held() == 2; }));
  std::thread clearing([&] { EXPECT_EQ(bench.core->clear(source.tokens).chunks, 2U); });
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
  EXPECT_EQ(bench.core->clear(source.tokens).chunks, 0U);
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
  EXPECT_EQ(bench.core->clear(source.tokens).chunks, 2U);
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
  std::thread clearing([&] { EXPECT_EQ(bench.core->clear(source.tokens).chunks, 2U); });
  EXPECT_TRUE(eventually([&] { return bench.stores[0]->num_held() == 2; }));
  const auto target = bench.poisoned(source.tokens);
  EXPECT_EQ(bench.retrieve(target).tokens, 2 * kChunk) << "it is still there";
  bench.stores[0]->release_held();
  clearing.join();
  bench.drain();
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
