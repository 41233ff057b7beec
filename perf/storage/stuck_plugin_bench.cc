#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "backends/external/factory.h"
#include "backends/local_cpu/factory.h"
#include "backends/local_disk/factory.h"
#include "perf/benchmarks.h"
#include "perf/rounds.h"
#include "perf/storage/bench_plugin.h"
#include "perf/storage/chunks.h"
#include "runtime/detached_thread.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/storage/close_backends.h"
#include "runtime/storage/storage_manager.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"

namespace kvferry {
namespace {

namespace fs = std::filesystem;

constexpr size_t kChunkBytes = size_t{1} << 20;
constexpr size_t kNumChunks = 256;
constexpr size_t kAtOnce = 16;
constexpr size_t kIoThreads = 4;
constexpr uint64_t kDiskBytes = uint64_t{1} << 30;
constexpr size_t kAny = static_cast<size_t>(-1);
constexpr Duration kForever = std::chrono::hours(1);
// A request that the plugin holds up for half of it shows in one window, not in all.
constexpr Duration kRequestTime = std::chrono::milliseconds(200);
constexpr Duration kPluginTime = std::chrono::milliseconds(500);

/// Memory and disk, and between them, if asked for, a plugin that answers nothing.
class Tiers {
 public:
  Tiers(const fs::path& directory, bool has_plugin, MemoryPool& pool)
      : control_(ThreadExecutor::create("control", clock_).value()), pool_(pool) {
    LocalCpuOptions memory;
    memory.max_bytes = pool.bytes();
    add(make_local_cpu_backend(context("local_cpu"), memory).value());
    if (has_plugin) {
      ExternalOptions silent;
      silent.module_path = bench_plugin_path();
      silent.class_name = "Silent";
      silent.limits.timeout = silent.limits.close_timeout = kPluginTime;
      add(make_external_backend(context("silent"), silent).value());
    }
    LocalDiskOptions disk;
    disk.path = directory;
    disk.max_bytes = kDiskBytes;
    add(make_local_disk_backend(context("local_disk"), disk).value());
    manager_ = std::make_unique<StorageManager>(*control_, sinks_);
  }
  /// False if a backend has not ended by then; that memory cannot be given back.
  bool close() {
    std::vector<StorageBackend*> backends;
    for (const std::shared_ptr<Sink>& sink : sinks_) backends.push_back(&sink->backend());
    return close_backends(backends, clock_.now() + std::chrono::seconds(5));
  }

  using Operation = std::function<void(const BenchChunk&, std::function<void(bool)>)>;
  /// Chunks a second of one kind of operation, kAtOnce of them under way: `count` of them, or fewer
  /// if `window` passes first.
  double run(const std::vector<BenchChunk>& chunks, size_t count, Duration window,
             const Operation& operation) {
    struct Loop {
      size_t next = 0;
      size_t open = 0;
      size_t num_good = 0;
      TimePoint last_end;
      std::function<void()> begin_one;
      std::promise<void> ended;
    } loop;
    const TimePoint start = clock_.now();
    // All of it on the control executor.
    loop.begin_one = [&] {
      ++loop.open;
      operation(chunks[loop.next++ % chunks.size()], [&](bool is_good) {
        --loop.open;
        const TimePoint now = clock_.now();
        if (now - start < window) {
          loop.last_end = now;
          ++(is_good ? loop.num_good : num_failed_);
          if (loop.next < count) return loop.begin_one();
        }
        if (loop.open == 0) loop.ended.set_value();
      });
    };
    control_->post([&] {
      for (size_t i = 0; i < std::min(kAtOnce, count); ++i) loop.begin_one();
    });
    loop.ended.get_future().wait();
    return static_cast<double>(loop.num_good) /
           std::chrono::duration<double>(loop.last_end - start).count();
  }

  /// Into every tier, once each; done when memory and disk have it.
  double store(const std::vector<BenchChunk>& chunks) {
    const std::vector<bool> into(sinks_.size(), true);
    return run(chunks, chunks.size(), kForever,
               [this, &into](const BenchChunk& chunk, const std::function<void(bool)>& done) {
                 auto left = std::make_shared<size_t>(2);
                 auto is_good = std::make_shared<bool>(true);
                 manager_->store(chunk.key, chunk.obj, into,
                                 [=, this](size_t sink, const Status& status) {
                                   if (sink != 0 && sink + 1 != sinks_.size()) return;
                                   *is_good = *is_good && status.is_ok();
                                   if (--*left == 0) done(*is_good);
                                 });
               });
  }
  void remove(const std::vector<BenchChunk>& chunks) {
    std::vector<CacheEngineKey> keys;
    keys.reserve(chunks.size());
    for (const BenchChunk& chunk : chunks) keys.push_back(chunk.key);
    for (Sink* const sink : {sinks_.front().get(), sinks_.back().get()}) {
      sink->backend().batched_remove(keys, true);
    }
  }
  /// From the first tier that gives it, beginning with `first_sink`.
  double fetch(const std::vector<BenchChunk>& chunks, size_t first_sink, Duration window) {
    return run(chunks, kAny, window,
               [this, first_sink](const BenchChunk& chunk, std::function<void(bool)> done) {
                 ChunkRequest request{chunk.key, kChunkBytes};
                 request.deadline = clock_.now() + kRequestTime;
                 manager_->fetch(request, first_sink,
                                 [done = std::move(done)](const FetchedChunk& fetched) {
                                   done(static_cast<bool>(fetched.obj));
                                 });
               });
  }
  size_t num_failed() const { return num_failed_; }

 private:
  BackendContext context(const std::string& name) {
    executors_.push_back(ThreadExecutor::create(name, clock_).value());
    work_pools_.push_back(ThreadWorkPool::create(name, kIoThreads).value());
    BackendContext context;
    context.name = name;
    context.executor = executors_.back().get();
    context.work_pool = work_pools_.back().get();
    context.allocator = &pool_;
    context.start_thread = start_detached_thread;
    return context;
  }
  void add(std::unique_ptr<StorageBackend> backend) {
    sinks_.push_back(std::make_shared<Sink>(std::move(backend), SinkLimits{}, *control_));
  }

  const SteadyClock clock_;
  std::unique_ptr<ThreadExecutor> control_;
  std::vector<std::unique_ptr<ThreadExecutor>> executors_;
  std::vector<std::unique_ptr<ThreadWorkPool>> work_pools_;
  MemoryPool& pool_;
  std::vector<std::shared_ptr<Sink>> sinks_;
  std::unique_ptr<StorageManager> manager_;
  size_t num_failed_ = 0;
};

}  // namespace

int run_stuck_plugin_bench(const StuckPluginOptions& options) {
  print_machine();
  std::printf(
      "stuck_plugin: %zu chunks of 1 MiB, %zu at once, %d windows of %d ms each; memory and disk "
      "with a plugin between them that answers nothing, beside the same without it\n",
      kNumChunks, kAtOnce, options.rounds, options.window_ms);
  const auto window = std::chrono::milliseconds(options.window_ms);
  const fs::path root = fs::path(options.directory) / "kvferry-bench";
  fs::remove_all(root);
  auto pool = MemoryPool::create({kChunkBytes, kNumChunks + 4 * kAtOnce}).value();
  std::vector<BenchChunk> chunks;
  for (size_t i = 0; i < kNumChunks; ++i) chunks.push_back(make_bench_chunk(*pool, kChunkBytes, i));
  bool ok = true;
  {
    fs::create_directories(root);
    Tiers without(root / "without", false, *pool);
    Tiers with(root / "with", true, *pool);
    struct Measure {
      const char* name;
      std::function<double(Tiers&)> rate;
    };
    const std::array<Measure, 3> measures = {{
        {"store/into:all",
         [&](Tiers& tiers) {
           tiers.remove(chunks);
           return tiers.store(chunks);
         }},
        {"fetch/from:local_disk", [&](Tiers& tiers) { return tiers.fetch(chunks, 1, window); }},
        {"fetch/from:local_cpu", [&](Tiers& tiers) { return tiers.fetch(chunks, 0, window); }},
    }};
    for (const Measure& measure : measures) {
      const auto spreads = run_in_rounds(options.rounds, {[&] { return measure.rate(without); },
                                                          [&] { return measure.rate(with); }});
      std::printf(
          "%-22s without %9.0f chunks/s (%.0f to %.0f)  with %9.0f (%.0f to %.0f)  ratio %.3f\n",
          measure.name, spreads[0].median, spreads[0].low, spreads[0].high, spreads[1].median,
          spreads[1].low, spreads[1].high, spreads[1].median / spreads[0].median);
    }
    ok = without.num_failed() == 0;
    std::printf("failed: %zu without, %zu with\n", without.num_failed(), with.num_failed());
    without.close();
    with.close();
  }
  chunks.clear();
  // What the plugin was given it still has.
  if (pool->usage().used_slots > 0) static_cast<void>(pool.release());
  fs::remove_all(root);
  return ok ? 0 : 1;
}

}  // namespace kvferry
