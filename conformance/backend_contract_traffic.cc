#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <thread>

#include "conformance/backend_contract_cases.h"

// Cases with several threads, and about the end.
namespace kvferry {
namespace {

/// What is known of one key that one thread writes and others read. Versions grow.
class KnownKey {
 public:
  struct View {
    bool is_settled = false;  ///< held, and nobody changes it
    int changes = 0;
    int oldest = 0;  ///< that a get may give which begins now
    int newest = 0;  ///< that a get may give which ends now
  };

  void begin_change(bool is_put) {
    MutexLock lock(mutex_);
    view_.is_settled = false;
    ++view_.changes;
    if (is_put) ++view_.newest;
  }
  void end_put() {
    MutexLock lock(mutex_);
    view_.is_settled = true;
    view_.oldest = view_.newest;
  }
  View view() const {
    MutexLock lock(mutex_);
    return view_;
  }

 private:
  mutable Mutex mutex_;
  View view_ KVFERRY_GUARDED_BY(mutex_);
};

/// Two threads write six keys each, others read all of them; every byte that a get gives is
/// compared with what its version must be.
class MixedTraffic {
 public:
  explicit MixedTraffic(BackendRig& rig) : rig_(rig) {}

  Status run() {
    std::vector<std::thread> threads;
    threads.reserve(kNumWriters + kNumReaders);
    for (int i = 0; i < kNumWriters; ++i) {
      threads.emplace_back([this, i] { note(write(i)); });
    }
    for (int i = 0; i < kNumReaders; ++i) {
      threads.emplace_back([this, i] { note(read(i)); });
    }
    for (std::thread& thread : threads) thread.join();
    MutexLock lock(mutex_);
    return first_error_;
  }

 private:
  static constexpr int kNumWriters = 2;
  static constexpr int kNumReaders = 3;
  static constexpr int kNumKeys = 12;
  static constexpr int kWrites = 60;
  static constexpr int kReads = 120;

  void note(const Status& status) {
    MutexLock lock(mutex_);
    if (first_error_.is_ok()) first_error_ = status;
  }

  Status write(int writer) {
    for (int i = 0; i < kWrites; ++i) {
      const int number = (i * kNumWriters + writer) % kNumKeys;
      KnownKey& known = known_.at(static_cast<size_t>(number));
      if (i % 5 == 4) {
        known.begin_change(false);
        KVFERRY_RETURN_IF_ERROR(error_of(rig_.remove({number}, true)));
      } else {
        known.begin_change(true);
        KVFERRY_RETURN_IF_ERROR(rig_.put({number}, known.view().newest));
        known.end_put();
      }
    }
    return {};
  }

  Status read(int reader) {
    for (int i = 0; i < kReads; ++i) {
      const int number = (i * 5 + reader) % kNumKeys;
      const KnownKey& known = known_.at(static_cast<size_t>(number));
      const KnownKey::View before = known.view();
      KVFERRY_ASSIGN_OR_RETURN(const auto objs, rig_.get({number}));
      KVFERRY_RETURN_IF_ERROR(check(number, before, known.view(), objs[0]));
    }
    return {};
  }

  static Status check(int number, const KnownKey::View& before, const KnownKey::View& after,
                      const MemoryObjPtr& obj) {
    const std::string name = "chunk " + std::to_string(number);
    if (!obj) {
      const bool must_hit = before.is_settled && before.changes == after.changes;
      return expect(!must_hit, name + " is held and nobody changes it, but a get misses it");
    }
    const int version = version_in(*obj);
    KVFERRY_RETURN_IF_ERROR(
        expect(version >= before.oldest, name + ": version " + std::to_string(before.oldest) +
                                             " was put before the get began, which gives version " +
                                             std::to_string(version) + ": stale"));
    KVFERRY_RETURN_IF_ERROR(
        expect(version >= 1 && version <= after.newest,
               name + ": a get gives version " + std::to_string(version) + ", never put"));
    return expect_chunk(make_contract_chunk(number, version), *obj);
  }

  BackendRig& rig_;
  std::array<KnownKey, kNumKeys> known_;
  Mutex mutex_;
  Status first_error_ KVFERRY_GUARDED_BY(mutex_);
};

/// One thread's batches of every kind, begun until it is told to stop, and what became of them.
class CallSeries {
 public:
  void run(BackendRig& rig, int first, const std::atomic<bool>& stops, std::atomic<int>& begun) {
    while (!stops.load()) {
      if (puts_.size() < kMaxBatches) {
        puts_.push_back(rig.begin_put(numbers_from(first, 2)));
        gets_.push_back(rig.begin_get(numbers_from(first, 4)));
        contains_.emplace_back("contains", 4);
        rig.backend().submit_contains(contract_keys(numbers_from(first, 4)),
                                      contains_.back().done());
        removes_.emplace_back("remove", 1);
        rig.backend().submit_remove(contract_keys({first + 3}), true, removes_.back().done());
      }
      begun.fetch_add(1);
      std::this_thread::yield();
    }
  }

  /// All has ended by now, the gets with what is right or without.
  Status check(int first) {
    for (auto& put : puts_) KVFERRY_RETURN_IF_ERROR(error_of(put.wait({})));
    for (auto& each : contains_) KVFERRY_RETURN_IF_ERROR(error_of(each.wait({})));
    for (auto& each : removes_) KVFERRY_RETURN_IF_ERROR(error_of(each.wait({})));
    for (auto& get : gets_) {
      KVFERRY_ASSIGN_OR_RETURN(const auto ends, get.wait({}));
      for (size_t i = 0; i < ends.size(); ++i) {
        if (!ends[i] || !*ends[i]) continue;
        KVFERRY_RETURN_IF_ERROR(
            expect_chunk(make_contract_chunk(first + static_cast<int>(i)), **ends[i]));
      }
    }
    return {};
  }

 private:
  static constexpr size_t kMaxBatches = 6;  // of one thread: their objects are all out at once

  std::deque<BatchEnds<Status>> puts_;
  std::deque<BatchEnds<Result<MemoryObjPtr>>> gets_;
  std::deque<BatchEnds<Result<bool>>> contains_;
  std::deque<BatchEnds<Result<bool>>> removes_;
};

Status close_during_traffic(BackendRig& rig) {
  constexpr int kThreads = 3;
  std::array<CallSeries, kThreads> series;
  std::atomic<bool> stops{false};
  std::atomic<int> begun{0};
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back(
        [&, i] { series.at(static_cast<size_t>(i)).run(rig, i * 8, stops, begun); });
  }
  while (begun.load() < kThreads * 2) std::this_thread::yield();
  const Status closed = rig.close();
  const int begun_before = begun.load();
  while (begun.load() < begun_before + kThreads) std::this_thread::yield();
  stops.store(true);
  for (std::thread& thread : threads) thread.join();
  KVFERRY_RETURN_IF_ERROR(closed);
  for (int i = 0; i < kThreads; ++i) {
    KVFERRY_RETURN_IF_ERROR(
        series.at(static_cast<size_t>(i))
            .check(i * 8)
            .with_context(
                "begun before or while the backend closed, not ended when on_closed was called"));
  }
  return {};
}

template <typename T>
Status expect_cancelled(const std::string& call, const Result<std::vector<Result<T>>>& ends) {
  KVFERRY_RETURN_IF_ERROR(error_of(ends));
  for (const Result<T>& end : *ends) {
    KVFERRY_RETURN_IF_ERROR(expect(
        error_of(end).code() == StatusCode::kCancelled,
        call + " after close() ended " + error_of(end).to_string() + " instead of cancelled"));
  }
  return {};
}

Status closed_backend_refuses(BackendRig& rig) {
  KVFERRY_RETURN_IF_ERROR(rig.put({0, 1}));
  KVFERRY_RETURN_IF_ERROR(rig.close());
  StorageBackend& backend = rig.backend();
  KVFERRY_ASSIGN_OR_RETURN(const auto puts, rig.begin_put({0, 2}).wait(rig.limit()));
  for (const Status& status : puts) {
    KVFERRY_RETURN_IF_ERROR(expect(status.code() == StatusCode::kCancelled,
                                   "a put after close() ended " + status.to_string()));
  }
  KVFERRY_RETURN_IF_ERROR(expect_cancelled("a get", rig.begin_get({0, 1}).wait(rig.limit())));
  BatchEnds<Result<bool>> contains("contains", 1);
  backend.submit_contains(contract_keys({0}), contains.done());
  KVFERRY_RETURN_IF_ERROR(expect_cancelled("contains", contains.wait(rig.limit())));
  BatchEnds<Result<bool>> remove("remove", 1);
  backend.submit_remove(contract_keys({0}), true, remove.done());
  KVFERRY_RETURN_IF_ERROR(expect_cancelled("a remove", remove.wait(rig.limit())));
  const bool answers = backend.contains(contract_key(0)) || backend.pin(contract_key(0)) ||
                       backend.remove(contract_key(0)) || backend.get_blocking(contract_key(0)) ||
                       backend.submit_prefetch_task(contract_key(0)) ||
                       backend.get_non_blocking(contract_key(0)).get();
  return expect(!answers, "a blocking method answers after close()");
}

}  // namespace

std::vector<BackendContractCase> backend_traffic_cases() {
  return {
      rig_case("MixedTraffic", ContractPart::kRetains,
               [](BackendRig& rig) { return MixedTraffic(rig).run(); }),
      rig_case("CloseDuringTraffic", ContractPart::kAll, close_during_traffic),
      rig_case("ClosedBackendRefuses", ContractPart::kAll, closed_backend_refuses),
  };
}

}  // namespace kvferry
