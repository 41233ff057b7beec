#include "runtime/storage/sink.h"

#include <gtest/gtest.h>

#include <functional>

#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_backend.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

constexpr size_t kChunkBytes = 4096;

CacheEngineKey key(int number) {
  CacheEngineKey key;
  key.model = "m";
  key.chunk_hash.bytes[0] = static_cast<uint8_t>(number);
  key.chunk_hash.bytes[1] = static_cast<uint8_t>(number >> 8);
  return key;
}

class SinkTest : public ::testing::Test {
 protected:
  SinkTest() {
    BackendContext context;
    context.name = "store";
    context.executor = control.get();
    context.work_pool = io.get();
    context.allocator = pool.get();
    auto backend = std::make_unique<ScriptedBackend>(context);
    store = backend.get();
    sink = std::make_shared<Sink>(std::move(backend), limits, *control);
  }
  ~SinkTest() override {
    store->release_held();
    control->stop();
    io.reset();
  }

  MemoryObjPtr chunk() { return pool->allocate(kChunkBytes).value(); }

  const SinkLimits limits = {.max_in_flight_bytes = 4 * kChunkBytes};
  const SteadyClock clock;
  std::unique_ptr<MemoryPool> pool =
      MemoryPool::create({.slot_bytes = kChunkBytes, .num_slots = 64}).value();
  std::unique_ptr<ThreadWorkPool> io = ThreadWorkPool::create("io", 2).value();
  std::unique_ptr<ThreadExecutor> control = ThreadExecutor::create("control", clock).value();
  ScriptedBackend* store = nullptr;
  std::shared_ptr<Sink> sink;
};

TEST_F(SinkTest, APutHasItsTurnHoweverManyGetsThereAre) {
  std::atomic<int> asked{0};
  std::atomic<int> ended{0};
  std::atomic<bool> stops{false};
  std::atomic<bool> is_put{false};
  // Ten that follow one another without an end: more than are let in at a time.
  const std::function<void()> get = [&] {
    ++asked;
    sink->get(key(1), kChunkBytes, FetchPriority::kForeground, TimePoint::max(),
              [&](const Result<MemoryObjPtr>&) {
                if (!stops) get();
                ++ended;
              });
  };
  control->post([&] {
    for (int i = 0; i < 10; ++i) get();
    sink->put(key(2), chunk(), [&](const Status& status) { is_put = status.is_ok(); });
  });
  EXPECT_TRUE(eventually([&] { return is_put.load(); }));
  EXPECT_LT(ended, 100000);
  stops = true;
  // What is asked reaches into this frame until it has ended.
  ASSERT_TRUE(eventually([&] { return asked == ended; }));
}

TEST_F(SinkTest, NoMoreThanItsBoundIsInFlight) {
  store->holds_gets = true;
  control->post([&] {
    for (int i = 0; i < 20; ++i) {
      sink->get(key(i), kChunkBytes, FetchPriority::kForeground, TimePoint::max(),
                [](const Result<MemoryObjPtr>&) {});
      sink->get(key(i), kChunkBytes, FetchPriority::kPrefetch, TimePoint::max(),
                [](const Result<MemoryObjPtr>&) {});
    }
  });
  EXPECT_TRUE(eventually([&] { return store->num_held() == 4; }));
  EXPECT_TRUE(eventually([&] { return sink->stats().queued_items == 36; }));
  EXPECT_EQ(sink->stats().in_flight_bytes, 4 * kChunkBytes);
}

TEST_F(SinkTest, OneThatGivesNothingForLongIsNotAskedForMore) {
  store->holds_gets = true;
  // Shared with what is still held, or posted, when this frame is gone.
  const auto refused = std::make_shared<std::atomic<int>>(0);
  const auto ask = [this, refused] {
    control->post([this, refused] {
      sink->get(key(1), kChunkBytes, FetchPriority::kForeground, TimePoint::max(),
                [refused](const Result<MemoryObjPtr>& got) {
                  if (!got && got.error().code() == StatusCode::kUnavailable) ++*refused;
                });
    });
  };
  ask();
  EXPECT_TRUE(eventually([&] {
    if (*refused == 0) ask();
    return *refused > 0;
  }));
}

TEST_F(SinkTest, ThousandsOfKeysAreAskedForInSlices) {
  std::vector<CacheEngineKey> keys;
  for (int i = 0; i < 3000; ++i) keys.push_back(key(i));
  std::promise<std::vector<Holding>> promise;
  control->post([&] {
    sink->put(key(2500), chunk(), [&](const Status&) {
      sink->questions().contains(
          keys, ContainsIntent::kGet, TimePoint::max(),
          [&](std::vector<Holding> holdings) { promise.set_value(std::move(holdings)); });
    });
  });
  const std::vector<Holding> holdings = promise.get_future().get();
  ASSERT_EQ(holdings.size(), 3000U);
  for (size_t i = 0; i < holdings.size(); ++i) {
    EXPECT_EQ(holdings[i], i == 2500 ? Holding::kHeld : Holding::kMissing) << i;
  }
}

}  // namespace
}  // namespace kvferry
