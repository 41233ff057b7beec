#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/external/factory.h"
#include "kvferry/chunk_record.h"
#include "kvferry/mutex.h"
#include "runtime/detached_thread.h"
#include "runtime/memory/memory_pool.h"
#include "tests/support/eventually.h"
#include "tests/support/recorded_log.h"
#include "tests/support/small_chunk.h"
#include "tests/support/status_matchers.h"

namespace kvferry {

/// An executor whose time stands still until a test moves it. Tasks run on the test's thread.
///
/// Threads: post and post_at from any thread; the rest from the test's.
class ManualExecutor final : public Executor, public Clock {
 public:
  void post(Task task) override { post_at(TimePoint(), std::move(task)); }
  void post_at(TimePoint when, Task task) override {
    MutexLock lock(mutex_);
    timers_.emplace(when, std::move(task));
  }
  Status watch_fd(int, bool, Task) override { return unsupported(); }
  void unwatch_fd(int) override {}
  Status add_progress_source(ProgressSource*) override { return unsupported(); }
  void remove_progress_source(ProgressSource*) override {}
  const Clock& clock() const override { return *this; }
  bool is_current() const override { return false; }
  TimePoint now() const override {
    MutexLock lock(mutex_);
    return now_;
  }

  size_t num_timers() const {
    MutexLock lock(mutex_);
    return timers_.size();
  }

  /// Time passes, and what is due runs.
  void advance(Duration time) {
    {
      MutexLock lock(mutex_);
      now_ += time;
    }
    while (Task task = next_due()) task();
  }

 private:
  static Status unsupported() { return Status(StatusCode::kUnimplemented, "a manual executor"); }
  Task next_due() {
    MutexLock lock(mutex_);
    if (timers_.empty() || timers_.begin()->first > now_) return {};
    Task task = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    return task;
  }

  mutable Mutex mutex_;
  // Starts at the real time: who starts a plugin waits for it on the real clock.
  TimePoint now_ KVFERRY_GUARDED_BY(mutex_) = std::chrono::steady_clock::now();
  std::multimap<TimePoint, Task> timers_ KVFERRY_GUARDED_BY(mutex_);
};

class RecordedMetrics final : public BackendMetrics {
 public:
  void add(std::string_view counter, uint64_t amount) override {
    MutexLock lock(mutex_);
    counters_[std::string(counter)] += amount;
  }
  void set(std::string_view gauge, double value) override {
    MutexLock lock(mutex_);
    gauges_[std::string(gauge)] = value;
  }
  uint64_t counter(const std::string& name) const {
    MutexLock lock(mutex_);
    const auto found = counters_.find(name);
    return found == counters_.end() ? 0 : found->second;
  }
  double gauge(const std::string& name) const {
    MutexLock lock(mutex_);
    const auto found = gauges_.find(name);
    return found == gauges_.end() ? 0 : found->second;
  }
  size_t num_counters() const {
    MutexLock lock(mutex_);
    return counters_.size();
  }

 private:
  mutable Mutex mutex_;
  std::map<std::string, uint64_t> counters_ KVFERRY_GUARDED_BY(mutex_);
  std::map<std::string, double> gauges_ KVFERRY_GUARDED_BY(mutex_);
};

/// The outcomes of one batch, as they come in. Copies share them.
template <typename Outcome>
class Ends {
 public:
  explicit Ends(size_t size) : size_(size), state_(std::make_shared<State>(size)) {}

  void operator()(size_t item, Outcome outcome) const {
    MutexLock lock(state_->mutex);
    ++state_->num_ended;
    state_->outcomes.at(item).emplace(std::move(outcome));
  }
  size_t num_ended() const {
    MutexLock lock(state_->mutex);
    return state_->num_ended;
  }
  /// Waits for all; what the first ended with.
  Outcome first() const { return all().front(); }
  std::vector<Outcome> all() const {
    const bool have_ended = eventually([this] { return num_ended() >= size_; });
    EXPECT_TRUE(have_ended) << "only " << num_ended() << " items ended";
    std::vector<Outcome> outcomes;
    MutexLock lock(state_->mutex);
    for (const auto& each : state_->outcomes) outcomes.push_back(each.value());
    return outcomes;
  }

 private:
  struct State {
    explicit State(size_t size) : outcomes(size) {}
    Mutex mutex;
    std::vector<std::optional<Outcome>> outcomes KVFERRY_GUARDED_BY(mutex);
    size_t num_ended KVFERRY_GUARDED_BY(mutex) = 0;
  };
  size_t size_;
  std::shared_ptr<State> state_;
};

/// One backend over a plugin of the tests, on a clock that the test moves.
class PluginBench {
 public:
  explicit PluginBench(size_t num_slots = 64)
      : pool_(
            MemoryPool::create({.slot_bytes = size_t{64} << 10, .num_slots = num_slots}).value()) {}
  ~PluginBench() {
    backend_.reset();
    // The plugin was left behind with memory in its hands: as the runtime, we keep it.
    if (pool_->usage().used_slots > 0) static_cast<void>(pool_.release());
  }

  BackendContext context() {
    BackendContext context;
    context.name = "plug";
    context.executor = &executor_;
    context.allocator = pool_.get();
    context.logger = &log_;
    context.metrics = &metrics_;
    context.start_thread = start_detached_thread;
    return context;
  }

  Status open(const ExternalOptions& options) {
    KVFERRY_ASSIGN_OR_RETURN(backend_, make_external_backend(context(), options));
    return Status();
  }

  StorageBackend& backend() { return *backend_; }
  std::unique_ptr<StorageBackend>& owner() { return backend_; }
  ManualExecutor& executor() { return executor_; }
  RecordedMetrics& metrics() { return metrics_; }
  RecordedLog& log() { return log_; }
  MemoryPool& pool() { return *pool_; }

  static CacheEngineKey key(int number) {
    CacheEngineKey key;
    key.model = "test/model";
    key.dtype = DType::kU8;
    key.chunk_hash.bytes[0] = static_cast<uint8_t>(number);
    return key;
  }
  static std::vector<CacheEngineKey> keys(int count) {
    std::vector<CacheEngineKey> keys;
    keys.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) keys.push_back(key(i));
    return keys;
  }

  MemoryObjPtr object(int number) {
    ChunkRecord record = small_chunk_record(key(number));
    MemoryObjPtr obj = pool_->allocate(static_cast<size_t>(record.layout.size_bytes)).value();
    std::fill(obj->bytes().begin(), obj->bytes().end(), static_cast<std::byte>(number + 1));
    EXPECT_THAT(compute_tile_digests(record.layout, obj->bytes(), 0, 2, record.tile_digests),
                IsOk());
    record.chunk_digest = bound_chunk_digest(record);
    EXPECT_THAT(apply_chunk_record(record, record.key, *obj), IsOk());
    obj->set_verified(true);
    return obj;
  }

  Ends<Status> put(int number) {
    const std::vector<CacheEngineKey> keys{key(number)};
    const std::vector<MemoryObjPtr> objs{object(number)};
    Ends<Status> ends(1);
    backend_->submit_put(keys, objs, {}, ends);
    return ends;
  }
  Ends<Result<MemoryObjPtr>> get(int number, TimePoint deadline = TimePoint::max()) {
    const std::vector<CacheEngineKey> keys{key(number)};
    Ends<Result<MemoryObjPtr>> ends(1);
    backend_->submit_get(keys, {.intent = GetIntent::kForeground, .deadline = deadline}, ends);
    return ends;
  }
  Ends<Result<bool>> contains(int count = 1) {
    Ends<Result<bool>> ends(static_cast<size_t>(count));
    backend_->submit_contains(keys(count), ends);
    return ends;
  }
  /// Whether close() has ended, when it will.
  Ends<bool> close() {
    Ends<bool> ended(1);
    backend_->close([ended] { ended(0, true); });
    return ended;
  }

 private:
  ManualExecutor executor_;
  RecordedMetrics metrics_;
  RecordedLog log_;
  std::unique_ptr<MemoryPool> pool_;
  std::unique_ptr<StorageBackend> backend_;
};

/// A function that a loaded plugin exports besides its classes.
template <typename Function>
Function* plugin_function(const std::string& path, const char* name) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  EXPECT_NE(library, nullptr);
  return reinterpret_cast<Function*>(::dlsym(library, name));
}

}  // namespace kvferry
