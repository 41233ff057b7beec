#include "kvferry/storage_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "conformance/backend_contract_chunks.h"
#include "conformance/backend_contract_memory.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"
#include "tests/support/eventually.h"
#include "tests/support/map_backend.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A backend whose items end when the test says so.
class HeldBackend final : public StorageBackend {
 public:
  HeldBackend(const BackendContext& context, BackendTraits traits)
      : StorageBackend(context, traits) {}

  // What was asked for last; the test calls them.
  ContainsDone contains_done;
  PutDone put_done;
  GetDone get_done;
  RemoveDone remove_done;
  PinDone pin_done;
  std::function<void()> on_closed;
  std::vector<PinOp> pin_ops;
  int num_removes = 0;

 private:
  void do_contains(std::span<const CacheEngineKey> /*keys*/, ContainsDone done) override {
    contains_done = std::move(done);
  }
  void do_put(std::span<const CacheEngineKey> /*keys*/, std::span<const MemoryObjPtr> /*objs*/,
              const TransferSpec& /*spec*/, PutDone done) override {
    put_done = std::move(done);
  }
  void do_get(std::span<const CacheEngineKey> /*keys*/, const GetOptions& /*options*/,
              GetDone done) override {
    get_done = std::move(done);
  }
  void do_remove(std::span<const CacheEngineKey> /*keys*/, bool /*force*/,
                 RemoveDone done) override {
    ++num_removes;
    remove_done = std::move(done);
  }
  void do_pin(std::span<const CacheEngineKey> /*keys*/, PinOwner /*owner*/, PinOp op,
              PinDone done) override {
    pin_ops.push_back(op);
    pin_done = std::move(done);
  }
  void do_close(std::function<void()> closed) override { on_closed = std::move(closed); }
};

class StorageBackendTest : public testing::Test {
 protected:
  StorageBackendTest()
      : executor(ThreadExecutor::create("test", clock).value()),
        work_pool(ThreadWorkPool::create("test", 1).value()),
        allocator(kContractChunkBytes, 8) {}

  BackendContext context(Duration blocking_timeout = std::chrono::seconds(30)) {
    BackendContext context;
    context.name = "held";
    context.executor = executor.get();
    context.work_pool = work_pool.get();
    context.allocator = &allocator;
    context.blocking_timeout = blocking_timeout;
    return context;
  }
  MemoryObjPtr object(int number) {
    const ContractChunk chunk = make_contract_chunk(number);
    MemoryObjPtr obj = allocator.allocate(chunk.bytes.size()).value();
    fill_object(chunk, *obj);
    return obj;
  }

  SteadyClock clock;
  std::unique_ptr<ThreadExecutor> executor;
  std::unique_ptr<ThreadWorkPool> work_pool;
  PoisonedAllocator allocator;
};

constexpr auto kShort = std::chrono::milliseconds(20);
const std::vector<CacheEngineKey> kKeys = contract_keys({0, 1, 2});

// ---- what the base does between caller and backend

TEST_F(StorageBackendTest, PutTasksAreKnownWhileTheyAreOpen) {
  HeldBackend backend(context(), {});
  const std::vector<MemoryObjPtr> objs = {object(0), object(1), object(2)};
  std::vector<std::pair<size_t, Status>> ends;
  backend.submit_put(kKeys, objs, {}, [&](size_t item, Status status) {
    EXPECT_FALSE(backend.exists_in_put_tasks(kKeys[item]));
    ends.emplace_back(item, std::move(status));
  });
  EXPECT_TRUE(backend.exists_in_put_tasks(kKeys[1]));
  EXPECT_EQ(backend.stats().open_items, 3);
  backend.put_done(1, {});
  EXPECT_FALSE(backend.exists_in_put_tasks(kKeys[1]));
  EXPECT_TRUE(backend.exists_in_put_tasks(kKeys[0]));
  backend.put_done(0, {});
  backend.put_done(2, Status(StatusCode::kResourceExhausted, "full"));
  EXPECT_FALSE(backend.exists_in_put_tasks(kKeys[2]));
  ASSERT_EQ(ends.size(), 3);
  EXPECT_THAT(ends[2].second, StatusIs(StatusCode::kResourceExhausted));
  EXPECT_EQ(backend.stats().put_failures, 1);
  EXPECT_EQ(backend.stats().put_bytes, objs[0]->bytes().size() + objs[1]->bytes().size());
  EXPECT_EQ(backend.stats().open_items, 0);
}

TEST_F(StorageBackendTest, PutOwnsItsObjectsUntilTheyEnd) {
  HeldBackend backend(context(), {});
  std::vector<MemoryObjPtr> objs = {object(0), object(1), object(2)};
  backend.submit_put(kKeys, objs, {}, [](size_t, const Status&) {});
  objs.clear();
  EXPECT_EQ(allocator.used(), 3);
  for (size_t i = 0; i < kKeys.size(); ++i) backend.put_done(i, {});
  EXPECT_EQ(allocator.used(), 0);
}

TEST_F(StorageBackendTest, PutRefusesWhatDoesNotFit) {
  HeldBackend backend(context(), {});
  std::vector<MemoryObjPtr> objs = {object(0), object(1)};
  std::vector<Status> ends;
  const auto note = [&](size_t, Status status) { ends.push_back(std::move(status)); };
  backend.submit_put(kKeys, objs, {}, note);
  objs.emplace_back();
  backend.submit_put(kKeys, objs, {}, note);
  ASSERT_EQ(ends.size(), 6);
  EXPECT_THAT(ends[0], StatusIs(StatusCode::kInvalidArgument, HasSubstr("3 keys but 2 objects")));
  EXPECT_THAT(ends[5], StatusIs(StatusCode::kInvalidArgument, HasSubstr("no object for")));
  EXPECT_FALSE(backend.put_done);
}

TEST_F(StorageBackendTest, StrayEndsAreDroppedAndCounted) {
  HeldBackend backend(context(), {});
  const std::vector<MemoryObjPtr> objs = {object(0), object(1), object(2)};
  int num_ends = 0;
  backend.submit_put(kKeys, objs, {}, [&](size_t, const Status&) { ++num_ends; });
  backend.put_done(0, {});
  backend.put_done(0, {});
  backend.put_done(3, {});
  EXPECT_EQ(num_ends, 1);
  EXPECT_EQ(backend.stats().stray_ends, 2);
  EXPECT_EQ(backend.stats().open_items, 2);
  backend.put_done(1, {});
  backend.put_done(2, {});
  int num_closed = 0;
  backend.close([&] { ++num_closed; });
  backend.on_closed();
  backend.on_closed();
  EXPECT_EQ(num_closed, 1);
  EXPECT_EQ(backend.stats().stray_ends, 3);
}

// ---- the end

TEST_F(StorageBackendTest, CloseEndsAfterTheLastItem) {
  HeldBackend backend(context(), {});
  bool ended = false;
  backend.submit_get(kKeys, {}, [](size_t, const Result<MemoryObjPtr>&) {});
  backend.close([&] { ended = true; });
  backend.on_closed();  // too early: the backend has open items
  EXPECT_FALSE(ended);
  for (size_t i = 0; i < kKeys.size(); ++i) backend.get_done(i, MemoryObjPtr());
  EXPECT_TRUE(ended);
}

TEST_F(StorageBackendTest, CloseWithinACompletionWaitsForTheCall) {
  MapBackend backend(context(), std::make_shared<MapStore>(), 1 << 20);
  std::atomic<bool> ended{false};
  backend.submit_contains(kKeys, [&](size_t item, const Result<bool>&) {
    if (item == 0) backend.close([&] { ended = true; });
  });
  EXPECT_TRUE(eventually([&] { return ended.load(); }));
}

TEST_F(StorageBackendTest, SubmitsThatRaceWithCloseEndOnceAndCloseEnds) {
  for (int round = 0; round < 200; ++round) {
    MapBackend backend(context(), std::make_shared<MapStore>(), 1 << 20);
    std::atomic<int> num_ends{0};
    std::atomic<bool> is_closed{false};
    std::thread submits([&] {
      for (int i = 0; i < 20; ++i) {
        backend.submit_contains(kKeys, [&](size_t, const Result<bool>&) { num_ends.fetch_add(1); });
      }
    });
    backend.close([&] { is_closed.store(true); });
    backend.close([] { ADD_FAILURE() << "a second close() has no end of its own"; });
    submits.join();
    ASSERT_TRUE(eventually([&] { return is_closed.load(); }));
    ASSERT_EQ(num_ends.load(), 60);
  }
}

TEST_F(StorageBackendTest, ClosedBackendSaysItsName) {
  HeldBackend backend(context(), {});
  backend.close([] {});
  Status end;
  backend.submit_get(std::span(kKeys).first(1), {},
                     [&](size_t, const Result<MemoryObjPtr>& obj) { end = obj.error(); });
  EXPECT_THAT(end, StatusIs(StatusCode::kCancelled, HasSubstr("backend held is closed")));
  EXPECT_FALSE(backend.get_done);
  backend.on_closed();
}

// ---- a backend that never answers

TEST_F(StorageBackendTest, BlockingMethodsGiveUpInTime) {
  HeldBackend backend(context(kShort), {});
  EXPECT_FALSE(backend.contains(kKeys[0]));
  EXPECT_FALSE(backend.get_blocking(kKeys[0]));
  EXPECT_THAT(backend.batched_get_blocking(std::span(kKeys).first(1)),
              ElementsAre(testing::Property(&MemoryObjPtr::get, nullptr)));
  EXPECT_FALSE(backend.remove(kKeys[0]));
  EXPECT_EQ(backend.batched_remove(kKeys), 0);
  EXPECT_FALSE(backend.pin(kKeys[0]));
  EXPECT_FALSE(backend.unpin(kKeys[0]));
}

TEST_F(StorageBackendTest, LateGetIsDropped) {
  HeldBackend backend(context(kShort), {});
  EXPECT_FALSE(backend.get_blocking(kKeys[0]));
  backend.get_done(0, object(0));
  EXPECT_EQ(allocator.used(), 0);
}

TEST_F(StorageBackendTest, LatePinIsTakenBack) {
  HeldBackend backend(context(kShort), {});
  EXPECT_FALSE(backend.pin(kKeys[0], 7));
  PinDone late = std::exchange(backend.pin_done, nullptr);
  late(0, true);
  EXPECT_THAT(backend.pin_ops, ElementsAre(PinOp::kPin, PinOp::kUnpin));
  EXPECT_EQ(backend.batched_contains(kKeys, true), 0);
  late = std::exchange(backend.pin_done, nullptr);
  for (size_t i = 0; i < kKeys.size(); ++i) late(i, true);
  EXPECT_EQ(std::ranges::count(backend.pin_ops, PinOp::kUnpin), 4);
}

// ---- what is got is verified

class CorruptBackendTest : public StorageBackendTest {
 protected:
  // The third chunk (worker_id 2) has a wrong byte.
  CorruptBackendTest()
      : backend(context(), std::make_shared<MapStore>(), 64 << 20, MapFault::kServesCorrupt) {
    std::vector<MemoryObjPtr> objs = {object(0), object(1), object(2)};
    std::atomic<int> num_ends{0};
    backend.batched_submit_put_task(kKeys, objs, {}, [&](const CacheEngineKey&, Status status) {
      EXPECT_THAT(status, IsOk());
      num_ends.fetch_add(1);
    });
    EXPECT_TRUE(eventually([&] { return num_ends.load() == 3; }));
  }
  ~CorruptBackendTest() override {
    std::atomic<bool> is_closed{false};
    backend.close([&] { is_closed.store(true); });
    EXPECT_TRUE(eventually([&] { return is_closed.load(); }));
  }

  MapBackend backend;
};

TEST_F(CorruptBackendTest, BlockingGetMissesAndRemoves) {
  ASSERT_TRUE(backend.contains(kKeys[2]));
  const auto objs = backend.batched_get_blocking(kKeys);
  EXPECT_TRUE(objs[0] && objs[0]->is_verified());
  EXPECT_TRUE(objs[1] && objs[1]->is_verified());
  EXPECT_FALSE(objs[2]);
  EXPECT_FALSE(backend.contains(kKeys[2]));
  EXPECT_EQ(backend.stats().get_failures, 1);
}

TEST_F(CorruptBackendTest, FutureIsNullAndTheChunkGoes) {
  EXPECT_TRUE(backend.get_non_blocking(kKeys[0]).get());
  EXPECT_FALSE(backend.get_non_blocking(kKeys[2]).get());
  EXPECT_TRUE(eventually([&] { return !backend.contains(kKeys[2]); }));
}

TEST_F(CorruptBackendTest, PrefetchHandlerGetsIntactChunksOnly) {
  std::atomic<int> num_found{0};
  backend.set_prefetch_handler([&](const CacheEngineKey& key, const MemoryObjPtr& obj) {
    EXPECT_NE(key, kKeys[2]);
    EXPECT_TRUE(obj->is_verified());
    num_found.fetch_add(1);
  });
  for (const CacheEngineKey& key : {kKeys[2], kKeys[0], kKeys[1]}) {
    EXPECT_TRUE(backend.submit_prefetch_task(key));
  }
  EXPECT_TRUE(eventually([&] { return num_found.load() == 2; }));
  EXPECT_TRUE(eventually([&] { return !backend.contains(kKeys[2]); }));
}

}  // namespace
}  // namespace kvferry
