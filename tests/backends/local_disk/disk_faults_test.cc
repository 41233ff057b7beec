#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <future>
#include <string>
#include <vector>

#include "tests/backends/local_disk/disk_rig.h"
#include "tests/support/eventually.h"
#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

LocalDiskOptions sim_options(Durability durability = Durability::kNone) {
  LocalDiskOptions options;
  options.path = "/store";
  options.max_bytes = size_t{8} << 20;
  options.durability = durability;
  return options;
}

class DiskFaults : public testing::Test {
 protected:
  /// A put with an error, or a short count, at its call number `index`; false if it has no such.
  template <typename Inject>
  bool put_with_fault(DiskRig& rig, int index, Inject inject, Status& status) {
    std::atomic<int> calls{0};
    files->set_fault_hook([&](std::string_view call, const std::string&) {
      return calls.fetch_add(1) == index ? inject(call) : SimFault();
    });
    status = rig.put(0, 1);
    files->set_fault_hook({});
    return calls.load() > index;
  }

  const std::shared_ptr<SimFileSystem> files = std::make_shared<SimFileSystem>();
};

TEST_F(DiskFaults, AnyCallOfAPutMayFailWithoutATrace) {
  for (const int error : {EIO, ENOSPC, EACCES, EMFILE}) {
    DiskRig rig(sim_options(Durability::kSync), files);
    ASSERT_THAT(rig.opened(), IsOk());
    int num_failed = 0;
    for (int index = 0;; ++index) {
      std::string failed_call;
      Status status;
      const auto inject = [&](std::string_view call) {
        failed_call = call;
        return SimFault{error};
      };
      if (!put_with_fault(rig, index, inject, status)) break;
      if (status.is_ok()) {
        // Not knowing the blocks is no reason to fail, nor is a full disk where room can be made.
        EXPECT_EQ(rig.version_held(0), 1) << failed_call;
        rig.backend().remove(contract_key(0));
        continue;
      }
      ++num_failed;
      EXPECT_FALSE(rig.contains(0)) << failed_call;
      EXPECT_THAT(files->file_names(), ElementsAre("kvferry-store")) << failed_call;
      EXPECT_EQ(rig.backend().usage().bytes, 0) << failed_call;
      EXPECT_EQ(status.native_code(), error) << failed_call;
    }
    EXPECT_GE(num_failed, 6) << error;
    ASSERT_THAT(rig.put(0, 2), IsOk());
    EXPECT_EQ(rig.version_held(0), 2);
    rig.backend().remove(contract_key(0));
  }
}

TEST_F(DiskFaults, FailedPutLeavesTheOldChunk) {
  DiskRig rig(sim_options(), files);
  ASSERT_THAT(rig.put(0, 0), IsOk());
  Status status;
  for (int index = 0; index < 5; ++index) {
    const auto inject = [](std::string_view) { return SimFault{EIO}; };
    ASSERT_TRUE(put_with_fault(rig, index, inject, status));
    if (status.is_ok()) continue;
    EXPECT_EQ(rig.version_held(0), 0);
  }
}

TEST_F(DiskFaults, ShortReadsAndWritesGoOn) {
  DiskRig rig(sim_options(), files);
  std::atomic<int> calls{0};
  files->set_fault_hook([&](std::string_view, const std::string&) {
    return SimFault{0, calls.fetch_add(1) % 2 == 0 ? size_t{4096} : SIZE_MAX};
  });
  for (int number = 0; number < 8; ++number) ASSERT_THAT(rig.put(number), IsOk());
  for (int number = 0; number < 8; ++number) EXPECT_EQ(rig.version_held(number), 0);
  EXPECT_GT(calls.load(), 16);
}

TEST_F(DiskFaults, WriteThatMovesNothingEndsThePut) {
  DiskRig rig(sim_options(), files);
  files->set_fault_hook([](std::string_view call, const std::string&) {
    return SimFault{0, call == "write_at" ? 0 : SIZE_MAX};
  });
  EXPECT_THAT(rig.put(0), Not(IsOk()));
  files->set_fault_hook({});
  EXPECT_EQ(rig.backend().usage().bytes, 0);
}

TEST_F(DiskFaults, FailedReadIsAFaultAndTheChunkGoes) {
  DiskRig rig(sim_options(), files);
  ASSERT_THAT(rig.put(0), IsOk());
  files->set_fault_hook([](std::string_view call, const std::string&) {
    return SimFault{call == "read_at" ? EIO : 0};
  });
  EXPECT_THAT(rig.get(0), StatusIs(StatusCode::kUnavailable));
  files->set_fault_hook({});
  EXPECT_FALSE(rig.contains(0));
  EXPECT_TRUE(eventually([&] { return rig.backend().usage().bytes == 0; }));
  EXPECT_EQ(rig.notes().counted("unreadable_files"), 1);
}

TEST_F(DiskFaults, FailedOpenKeepsTheChunk) {
  DiskRig rig(sim_options(), files);
  ASSERT_THAT(rig.put(0), IsOk());
  files->set_fault_hook([](std::string_view call, const std::string&) {
    return SimFault{call == "open" ? EMFILE : 0};
  });
  EXPECT_THAT(rig.get(0), StatusIs(StatusCode::kResourceExhausted));
  files->set_fault_hook({});
  EXPECT_EQ(rig.version_held(0), 0);
}

TEST_F(DiskFaults, FileThatCannotBeRemovedStaysCharged) {
  DiskRig rig(sim_options(), files);
  ASSERT_THAT(rig.put(0), IsOk());
  files->set_fault_hook([](std::string_view call, const std::string&) {
    return SimFault{call == "unlink" ? EIO : 0};
  });
  EXPECT_TRUE(rig.backend().remove(contract_key(0)));
  files->set_fault_hook({});
  EXPECT_FALSE(rig.contains(0));
  EXPECT_EQ(rig.backend().usage().bytes, chunk_disk_bytes(0));
  EXPECT_EQ(rig.notes().counted("unlink_failures"), 1);
}

TEST_F(DiskFaults, UnsyncableChunkIsDropped) {
  LocalDiskOptions options = sim_options(Durability::kAsync);
  options.sync_interval = std::chrono::milliseconds(1);
  DiskRig rig(options, files);
  files->set_fault_hook([](std::string_view call, const std::string&) {
    return SimFault{call == "sync_file" ? EIO : 0};
  });
  ASSERT_THAT(rig.put(0), IsOk());
  EXPECT_TRUE(eventually([&] { return rig.notes().counted("sync_failures") == 1; }));
  EXPECT_FALSE(rig.contains(0));
}

// ---- full disks

TEST_F(DiskFaults, FullDiskMakesTheStoreGiveUpWhatIsOld) {
  DiskRig rig(sim_options(), files);
  size_t capacity = 0;
  for (int number = 0; number < 8; ++number) capacity += chunk_disk_bytes(number);
  files->set_capacity(capacity);
  for (int number = 0; number < 40; ++number) ASSERT_THAT(rig.put(number), IsOk()) << number;
  EXPECT_EQ(rig.version_held(39), 0);
  EXPECT_EQ(rig.version_held(0), -1);
  EXPECT_GT(rig.notes().counted("disk_full"), 0);
  EXPECT_LE(files->peak_used_bytes(), capacity);
}

TEST_F(DiskFaults, FullDiskWithNothingToGiveUpEndsThePut) {
  DiskRig rig(sim_options(), files);
  files->set_capacity(4096);
  EXPECT_THAT(rig.put(0), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_EQ(files->used_bytes(), 0);
  files->set_capacity(SIZE_MAX);
  EXPECT_THAT(rig.put(0), IsOk());
}

TEST_F(DiskFaults, BoundHoldsAtEveryMoment) {
  SeededRng rng;
  LocalDiskOptions options = sim_options();
  options.max_bytes = size_t{4} << 20;
  DiskRig rig(options, files);
  std::atomic<int> open_items{0};
  for (int round = 0; round < 60; ++round) {
    std::vector<CacheEngineKey> keys;
    std::vector<MemoryObjPtr> objs;
    for (int i = 0; i < 6; ++i) {
      const int number = static_cast<int>(rng.below(40));
      keys.push_back(contract_key(number));
      objs.push_back(rig.make_object(number, round));
    }
    open_items += 24;
    rig.backend().submit_put(keys, objs, {}, [&](size_t, const Status& status) {
      EXPECT_THAT(status, IsOk());
      --open_items;
    });
    rig.backend().submit_get(keys, {}, [&](size_t, const Result<MemoryObjPtr>& obj) {
      EXPECT_THAT(obj, IsOk());
      --open_items;
    });
    rig.backend().submit_remove(keys, true, [&](size_t, const Result<bool>&) { --open_items; });
    rig.backend().submit_contains(keys, [&](size_t, const Result<bool>&) { --open_items; });
    const int most_open = rng.one_in(3) ? 0 : 24;  // more than that, and memory runs out
    ASSERT_TRUE(eventually([&] { return open_items.load() <= most_open; }));
  }
  ASSERT_TRUE(eventually([&] { return open_items.load() == 0; }));
  EXPECT_LE(files->peak_used_bytes(), options.max_bytes);
  EXPECT_TRUE(eventually([&] { return rig.backend().usage().bytes == files->used_bytes(); }))
      << rig.backend().usage().bytes << " " << files->used_bytes();
}

TEST_F(DiskFaults, ChunkLargerThanTheStoreIsRefused) {
  LocalDiskOptions options = sim_options();
  options.max_bytes = 8192;
  DiskRig rig(options, files);
  EXPECT_THAT(rig.put(0), StatusIs(StatusCode::kResourceExhausted, HasSubstr("larger")));
}

TEST_F(DiskFaults, PinnedChunksLeaveNoRoom) {
  LocalDiskOptions options = sim_options();
  options.max_bytes = chunk_disk_bytes(0) + chunk_disk_bytes(8);
  DiskRig rig(options, files);
  for (const int number : {0, 8}) {
    ASSERT_THAT(rig.put(number), IsOk());
    ASSERT_TRUE(rig.backend().pin(contract_key(number)));
  }
  EXPECT_THAT(rig.put(16), StatusIs(StatusCode::kResourceExhausted, HasSubstr("pinned")));
  ASSERT_TRUE(rig.backend().unpin(contract_key(8)));
  EXPECT_THAT(rig.put(16), IsOk());
  EXPECT_EQ(rig.version_held(0), 0);
  EXPECT_EQ(rig.version_held(8), -1);
}

// ---- who waits for whom

/// Stops calls of one name until it is told to let them go.
class Gate {
 public:
  explicit Gate(std::string call) : call_(std::move(call)) {}
  SimFault operator()(std::string_view call) {
    if (call != call_) return {};
    MutexLock lock(mutex_);
    ++num_waiting_;
    while (!is_open_) opened_.wait(mutex_);
    return {};
  }
  bool wait_for(int num_waiting) {
    return eventually([&] {
      MutexLock lock(mutex_);
      return num_waiting_ >= num_waiting;
    });
  }
  void open() {
    MutexLock lock(mutex_);
    is_open_ = true;
    opened_.notify_all();
  }

 private:
  const std::string call_;
  Mutex mutex_;
  CondVar opened_;
  bool is_open_ KVFERRY_GUARDED_BY(mutex_) = false;
  int num_waiting_ KVFERRY_GUARDED_BY(mutex_) = 0;
};

TEST_F(DiskFaults, RemovedWhileItIsReadIsReadToTheEndAndChargedUntilThen) {
  DiskRig rig(sim_options(), files);
  ASSERT_THAT(rig.put(0), IsOk());
  Gate gate("read_at");
  files->set_fault_hook([&](std::string_view call, const std::string&) { return gate(call); });
  std::promise<Result<MemoryObjPtr>> got;
  const CacheEngineKey key = contract_key(0);
  rig.backend().submit_get(
      {&key, 1}, {}, [&](size_t, Result<MemoryObjPtr> obj) { got.set_value(std::move(obj)); });
  ASSERT_TRUE(gate.wait_for(1));
  EXPECT_TRUE(rig.backend().remove(key));
  EXPECT_FALSE(rig.contains(0));
  EXPECT_EQ(rig.backend().usage().bytes, chunk_disk_bytes(0));
  ASSERT_THAT(rig.put(0, 8), IsOk());  // another chunk of that key meanwhile
  gate.open();
  const auto obj = got.get_future().get();
  ASSERT_THAT(obj, IsOk());
  EXPECT_THAT(expect_chunk(make_contract_chunk(0), **obj), IsOk());
  EXPECT_EQ(rig.version_held(0), 8);
  EXPECT_TRUE(eventually([&] { return rig.backend().usage().bytes == chunk_disk_bytes(0, 8); }));
}

TEST_F(DiskFaults, WhatIsReadIsNotEvicted) {
  LocalDiskOptions options = sim_options();
  options.max_bytes = chunk_disk_bytes(0);
  DiskRig rig(options, files);
  ASSERT_THAT(rig.put(0), IsOk());
  Gate gate("read_at");
  files->set_fault_hook([&](std::string_view call, const std::string&) { return gate(call); });
  const std::vector<CacheEngineKey> keys = {contract_key(0), contract_key(8)};
  std::promise<Result<MemoryObjPtr>> got;
  rig.backend().submit_get({keys.data(), 1}, {}, [&](size_t, Result<MemoryObjPtr> obj) {
    got.set_value(std::move(obj));
  });
  ASSERT_TRUE(gate.wait_for(1));
  std::promise<Status> put;
  const MemoryObjPtr obj = rig.make_object(8);
  rig.backend().submit_put({&keys[1], 1}, {&obj, 1}, {},
                           [&](size_t, Status status) { put.set_value(std::move(status)); });
  gate.open();
  EXPECT_THAT(got.get_future().get(), IsOk());
  EXPECT_THAT(put.get_future().get(), IsOk());  // it waited for the read
  EXPECT_EQ(rig.version_held(8), 0);
}

TEST_F(DiskFaults, ForegroundBeforePrefetchBeforePutsAndNobodyStarves) {
  LocalDiskOptions options = sim_options();
  options.queue_depth = 1;
  options.max_bytes = size_t{64} << 20;
  DiskRig rig(options, files);
  ASSERT_THAT(rig.put(5), IsOk());
  Gate gate("read_at");
  files->set_fault_hook([&](std::string_view call, const std::string&) { return gate(call); });
  Mutex mutex;
  std::string order;
  const auto note = [&](char who) {
    MutexLock lock(mutex);
    order += who;
  };
  const CacheEngineKey key = contract_key(5);
  const std::vector<CacheEngineKey> keys(10, key);
  rig.backend().submit_get({&key, 1}, {}, [&](size_t, const auto&) { note('.'); });
  ASSERT_TRUE(gate.wait_for(1));
  const CacheEngineKey put_key = contract_key(13);
  const MemoryObjPtr obj = rig.make_object(13);
  rig.backend().submit_put({&put_key, 1}, {&obj, 1}, {}, [&](size_t, const auto&) { note('p'); });
  GetOptions prefetch;
  prefetch.intent = GetIntent::kPrefetch;
  rig.backend().submit_get({keys.data(), 2}, prefetch, [&](size_t, const auto&) { note('b'); });
  rig.backend().submit_get(keys, {}, [&](size_t, const auto&) { note('f'); });
  gate.open();
  ASSERT_TRUE(eventually([&] {
    MutexLock lock(mutex);
    return order.size() == 14;
  }));
  // Those who were passed over 8 times come next: the lowest of them first.
  EXPECT_EQ(order, ".ffffffffpbffb");
}

TEST_F(DiskFaults, TooManyThatWaitAreRefused) {
  LocalDiskOptions options = sim_options();
  options.queue_depth = 1;
  options.max_waiting = 3;
  DiskRig rig(options, files);
  ASSERT_THAT(rig.put(5), IsOk());
  Gate gate("read_at");
  files->set_fault_hook([&](std::string_view call, const std::string&) { return gate(call); });
  const CacheEngineKey key = contract_key(5);
  std::atomic<int> num_ok{0};
  std::atomic<int> num_refused{0};
  const auto done = [&](size_t, const Result<MemoryObjPtr>& obj) {
    if (obj.has_value()) ++num_ok;
    if (!obj.has_value() && obj.error().code() == StatusCode::kResourceExhausted) ++num_refused;
  };
  rig.backend().submit_get({&key, 1}, {}, done);
  ASSERT_TRUE(gate.wait_for(1));
  rig.backend().submit_get(std::vector<CacheEngineKey>(5, key), {}, done);
  EXPECT_EQ(num_refused.load(), 2);
  gate.open();
  EXPECT_TRUE(eventually([&] { return num_ok.load() == 4; }));
}

TEST_F(DiskFaults, PastDeadlineEndsBeforeItIsRead) {
  DiskRig rig(sim_options(), files);
  ASSERT_THAT(rig.put(5), IsOk());
  GetOptions options;
  options.deadline = TimePoint::min();
  EXPECT_THAT(rig.get(5, options), StatusIs(StatusCode::kDeadlineExceeded));
}

// ---- order of writes, and what the file system cannot do

TEST_F(DiskFaults, SyncPutSyncsTheFileThenItsName) {
  DiskRig rig(sim_options(Durability::kSync), files);
  std::vector<std::string> calls;
  files->set_fault_hook([&](std::string_view call, const std::string&) {
    if (call != "write_at") calls.emplace_back(call);
    return SimFault();
  });
  ASSERT_THAT(rig.put(0), IsOk());
  files->set_fault_hook({});
  EXPECT_THAT(calls,
              ElementsAre("open", "preallocate", "sync_file", "info", "rename", "sync_directory"));
}

TEST_F(DiskFaults, RefusedDirectIoIsSaidAndGoneRoundOf) {
  files->refuse_direct();
  DiskRig rig(sim_options(), files);
  ASSERT_THAT(rig.opened(), IsOk());
  EXPECT_TRUE(rig.notes().has_logged("direct=no"));
  ASSERT_THAT(rig.put(0), IsOk());
  EXPECT_EQ(rig.version_held(0), 0);
}

TEST_F(DiskFaults, ARingThatIsAskedForIsRefusedWithoutDirectIo) {
  files->refuse_direct();
  LocalDiskOptions options = sim_options();
  options.io = DiskIo::kIoUring;
  EXPECT_THAT(DiskRig(options, files).opened(),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("refuses O_DIRECT")));
}

TEST_F(DiskFaults, MissingRingIsAnErrorOnlyIfItIsAskedFor) {
  LocalDiskOptions options = sim_options();
  options.io = DiskIo::kIoUring;
  EXPECT_THAT(DiskRig(options, files).opened(), StatusIs(StatusCode::kFailedPrecondition));
  options.io = DiskIo::kAuto;
  DiskRig rig(options, files);
  EXPECT_THAT(rig.opened(), IsOk());
  EXPECT_TRUE(rig.notes().has_logged("engine=pread"));
}

TEST_F(DiskFaults, UnreadableDirectoryEndsTheOpen) {
  for (const std::string call : {"make_directory", "lock", "list", "sync_directory"}) {
    files->set_fault_hook([&](std::string_view each, const std::string&) {
      return SimFault{each == call ? EACCES : 0};
    });
    EXPECT_THAT(DiskRig(sim_options(), files).opened(), StatusIs(StatusCode::kPermissionDenied))
        << call;
  }
}

// A shortage of descriptors must not be taken for damage.
TEST_F(DiskFaults, FileThatCannotBeOpenedEndsTheOpenAndStays) {
  {
    DiskRig rig(sim_options(), files);
    ASSERT_THAT(rig.put(0), IsOk());
  }
  files->set_fault_hook([](std::string_view call, const std::string& path) {
    return SimFault{call == "open" && path.ends_with(".chunk") ? EMFILE : 0};
  });
  EXPECT_THAT(DiskRig(sim_options(), files).opened(), StatusIs(StatusCode::kResourceExhausted));
  files->set_fault_hook({});
  EXPECT_THAT(files->file_names(), Contains(EndsWith(".chunk")));
}

}  // namespace
}  // namespace kvferry
