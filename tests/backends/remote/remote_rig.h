#pragma once

#include <future>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/remote/factory.h"
#include "conformance/backend_contract_chunks.h"
#include "conformance/backend_contract_memory.h"
#include "conformance/backend_contract_rig.h"
#include "core/remote_url.h"
#include "kvferry/logger.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"

namespace kvferry {

/// What a test wants to see of a backend's counters.
class CountedMetrics final : public BackendMetrics {
 public:
  void add(std::string_view counter, uint64_t amount) override {
    MutexLock lock(mutex_);
    counts_[std::string(counter)] += amount;
  }
  void set(std::string_view /*gauge*/, double /*value*/) override {}
  uint64_t count(const std::string& counter) {
    MutexLock lock(mutex_);
    return counts_[counter];
  }

 private:
  Mutex mutex_;
  std::map<std::string, uint64_t> counts_ KVFERRY_GUARDED_BY(mutex_);
};

/// Keeps all lines.
class KeptLog final : public Logger {
 public:
  bool enabled(LogLevel /*level*/) const override { return true; }
  void log(LogLevel /*level*/, std::string_view line) override {
    MutexLock lock(mutex_);
    lines_ += std::string(line) + "\n";
  }
  std::string lines() {
    MutexLock lock(mutex_);
    return lines_;
  }

 private:
  Mutex mutex_;
  std::string lines_ KVFERRY_GUARDED_BY(mutex_);
};

/// A remote backend, all that it is given, and short calls on the contract's chunks. Closes the
/// backend at the end.
class RemoteRig {
 public:
  explicit RemoteRig(const RemoteOptions& options)
      : executor(ThreadExecutor::create("remote", clock).value()),
        work_pool(ThreadWorkPool::create("remote_work", 2).value()),
        allocator(kContractChunkBytes, 64) {
    BackendContext context;
    context.name = "remote";
    context.executor = executor.get();
    context.work_pool = work_pool.get();
    context.allocator = &allocator;
    context.metrics = &metrics;
    context.logger = &log;
    backend = make_remote_backend(context, options).value();
  }
  explicit RemoteRig(const std::string& url) : RemoteRig(options_of(url)) {}
  ~RemoteRig() {
    std::promise<void> closed;
    backend->close([&closed] { closed.set_value(); });
    closed.get_future().wait();
  }

  static RemoteOptions options_of(const std::string& url) {
    RemoteOptions options;
    options.store = parse_remote_url(url).value();
    return options;
  }

  MemoryObjPtr object(int number, int version = 0) {
    const ContractChunk chunk = make_contract_chunk(number, version);
    MemoryObjPtr obj = allocator.allocate(chunk.bytes.size()).value();
    fill_object(chunk, *obj);
    return obj;
  }
  BatchEnds<Status> begin_put(const std::vector<int>& numbers, int version = 0) {
    std::vector<MemoryObjPtr> objs;
    for (const int number : numbers) objs.push_back(object(number, version));
    BatchEnds<Status> ends("put", numbers.size());
    backend->submit_put(contract_keys(numbers), objs, {}, ends.done());
    return ends;
  }
  Status put(int number, int version = 0) {
    return begin_put({number}, version).wait(kPatience).value().front();
  }
  BatchEnds<Result<MemoryObjPtr>> begin_get(const std::vector<int>& numbers) {
    BatchEnds<Result<MemoryObjPtr>> ends("get", numbers.size());
    backend->submit_get(contract_keys(numbers), {}, ends.done());
    return ends;
  }
  Result<MemoryObjPtr> get(int number) {
    return std::move(begin_get({number}).wait(kPatience).value().front());
  }

  static constexpr auto kPatience = std::chrono::seconds(30);

  SteadyClock clock;
  CountedMetrics metrics;
  KeptLog log;
  std::unique_ptr<ThreadExecutor> executor;
  std::unique_ptr<ThreadWorkPool> work_pool;
  PoisonedAllocator allocator;
  std::unique_ptr<StorageBackend> backend;
};

}  // namespace kvferry
