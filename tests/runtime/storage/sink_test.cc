#include "runtime/storage/sink.h"

#include <gtest/gtest.h>

#include <functional>

#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"
#include "tests/support/eventually.h"
#include "tests/support/run_on.h"
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
  explicit SinkTest(Duration put_timeout = std::chrono::seconds(30))
      : limits{.max_in_flight_bytes = 4 * kChunkBytes, .put_timeout = put_timeout} {
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

  const SinkLimits limits;
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
  keys.reserve(3000);
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
  std::promise<Removal> removed;
  control->post([&] {
    sink->questions().remove(keys, [&](Removal removal) { removed.set_value(std::move(removal)); });
  });
  const Removal removal = removed.get_future().get();
  EXPECT_THAT(removal.status, IsOk());
  ASSERT_EQ(removal.were_held.size(), 3000U);
  for (size_t i = 0; i < removal.were_held.size(); ++i) {
    EXPECT_EQ(removal.were_held[i], i == 2500) << i;
  }
}

TEST_F(SinkTest, NobodyWaitsTwiceForABackendThatDoesNotAnswer) {
  const auto ask = [this](TimePoint deadline) {
    std::promise<Holding> answered;
    control->post([&] {
      sink->questions().contains(
          {key(1)}, ContainsIntent::kGet, deadline,
          [&](const std::vector<Holding>& holdings) { answered.set_value(holdings.front()); });
    });
    return answered.get_future().get();
  };
  store->holds_contains = true;
  EXPECT_EQ(ask(clock.now() + std::chrono::milliseconds(300)), Holding::kUnknown);
  // Without an end: who waited now would do so for ever.
  EXPECT_EQ(ask(TimePoint::max()), Holding::kUnknown);
  EXPECT_EQ(ask(TimePoint::max()), Holding::kUnknown);
  EXPECT_EQ(store->num_held(), 2U) << "one that was waited for, one that was not";
  store->release_held();
  EXPECT_TRUE(eventually([&] { return ask(TimePoint::max()) == Holding::kMissing; }));
}

TEST_F(SinkTest, OneWhoseGetsHangHoldsNoStoreUp) {
  store->holds_gets = true;
  run_on(*control, [this] {
    for (int i = 0; i < 4; ++i) {
      sink->get(key(i), kChunkBytes, FetchPriority::kForeground, TimePoint::max(),
                [](const Result<MemoryObjPtr>&) {});
    }
    sink->put(key(9), chunk(), [](const Status&) {});
    EXPECT_TRUE(sink->is_moving());
  });
  EXPECT_TRUE(
      eventually([this] { return run_on(*control, [this] { return !sink->is_moving(); }); }));
}

class ImpatientSinkTest : public SinkTest {
 protected:
  ImpatientSinkTest() : SinkTest(std::chrono::seconds(1)) {}

  std::future<Status> put(int number) {
    auto ended = std::make_shared<std::promise<Status>>();
    run_on(*control, [&] {
      sink->put(key(number), chunk(), [ended](const Status& status) { ended->set_value(status); });
    });
    return ended->get_future();
  }
};

TEST_F(ImpatientSinkTest, ALatePutIsTakenOut) {
  store->holds_puts = true;
  EXPECT_THAT(put(1).get(), StatusIs(StatusCode::kDeadlineExceeded));
  store->release_held();
  EXPECT_TRUE(eventually([&] { return sink->stats().late_items == 1; }));
  EXPECT_TRUE(eventually([&] { return !store->has(key(1)); }));
}

TEST_F(ImpatientSinkTest, ALatePutTakesNothingOutThatAnotherHasPut) {
  store->holds_puts = true;
  EXPECT_THAT(put(1).get(), StatusIs(StatusCode::kDeadlineExceeded));
  std::future<Status> second = put(1);
  ASSERT_TRUE(eventually([&] { return store->num_held() == 2; }));
  store->release_held();
  ASSERT_THAT(second.get(), IsOk());
  EXPECT_TRUE(eventually([&] { return sink->stats().late_items == 1; }));
  EXPECT_TRUE(store->has(key(1)));
}

}  // namespace
}  // namespace kvferry
