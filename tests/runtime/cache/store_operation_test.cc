#include "runtime/cache/store_operation.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/cache_bench.h"
#include "tests/support/eventually.h"

namespace kvferry {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int64_t kChunk = 256;

TEST(StoreOperation, OneGatherFeedsEverySinkByReference) {
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

TEST(StoreOperation, PagesAreFreeAfterTheGatherAlthoughSinksAreStillAtIt) {
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

TEST(StoreOperation, AStuckSinkTakesNothingFromTheOthers) {
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

TEST(StoreOperation, MoreThanMemoryHoldsStillReachesTheStore) {
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

TEST(StoreOperation, LayersAreReadWhenTheyAreComplete) {
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

TEST(StoreOperation, LayersThatAreNeverCompleteAreNotStored) {
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

TEST(StoreOperation, MoreLayersThanMemoryHasRoomForAreReadChunkByChunk) {
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

TEST(StoreOperation, APutThatEndsAfterItsDeadlineIsNotFound) {
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

TEST(StoreOperation, APutThatFailsIsNotVisibleAndSaysSo) {
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

}  // namespace
}  // namespace kvferry
