#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "backends/external/factory.h"
#include "backends/external/plugin_calls.h"
#include "backends/external/plugin_library.h"
#include "kvferry/mutex.h"
#include "perf/benchmarks.h"
#include "perf/rounds.h"
#include "perf/storage/bench_plugin.h"
#include "runtime/detached_thread.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"

namespace kvferry {

std::string bench_plugin_path() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() /
         "libkvferry_bench_plugin.so";
}

namespace {

constexpr std::array<size_t, 3> kBatches = {1, 16, 256};
// Of one timing: many enough that the clock's own cost does not show.
constexpr size_t kShimItems = 65'536;
constexpr size_t kQueuedItems = 4096;

using Done = std::function<void(size_t, Result<bool>)>;

std::vector<CacheEngineKey> make_keys(size_t count) {
  std::vector<CacheEngineKey> keys(count);
  for (size_t i = 0; i < count; ++i) {
    keys[i].model = "meta-llama/Llama-3.1-8B-Instruct";
    keys[i].chunk_hash.bytes[0] = static_cast<uint8_t>(i);
    keys[i].chunk_hash.bytes[1] = static_cast<uint8_t>(i >> 8U);
  }
  return keys;
}

double nanoseconds_since(const SteadyClock& clock, TimePoint start) {
  return std::chrono::duration<double, std::nano>(clock.now() - start).count();
}

// ---- the boundary alone

/// What a backend would be if it were ours.
class Answerer {
 public:
  virtual ~Answerer() = default;
  virtual void contains(std::span<const OpenItems::Ptr> items) = 0;
};

class YesSayer final : public Answerer {
 public:
  void contains(std::span<const OpenItems::Ptr> items) override {
    for (const OpenItems::Ptr& item : items) {
      ItemOutcome yes;
      yes.is_yes = true;
      end_item(*item, std::move(yes));
    }
  }
};

/// Items that the plugin's answer finds by their number.
struct OpenBatch {
  std::vector<OpenItems::Ptr> items;
  size_t num_yes = 0;
};

void complete(const kvferry_host* host, kvferry_item item, kvferry_outcome outcome,
              const char* message) {
  OpenItem& open = *static_cast<OpenBatch*>(host->data)->items[item];
  end_item(open, judge_answer(open, outcome, message).outcome);
}

std::unique_ptr<OpenBatch> open_batch(size_t size) {
  auto batch = std::make_unique<OpenBatch>();
  auto group = std::make_shared<ItemGroup>();
  group->done = [&num_yes = batch->num_yes](size_t /*item*/, const ItemOutcome& outcome) {
    num_yes += outcome.is_yes ? 1 : 0;
  };
  const auto keys = make_keys(size);
  for (size_t i = 0; i < size; ++i) {
    auto item = std::make_shared<OpenItem>();
    item->id = i;
    item->group = group;
    item->index = i;
    item->state = OpenItem::State::kGiven;
    item->key_text = keys[i].to_string();
    batch->items.push_back(std::move(item));
  }
  return batch;
}

bool bench_shim(int rounds, size_t batch_size) {
  const auto batch = open_batch(batch_size);
  kvferry_host host{};
  host.size = sizeof(host);
  host.abi_major = KVFERRY_ABI_MAJOR;
  host.data = batch.get();
  host.complete = complete;
  const auto plugin = load_plugin_class(bench_plugin_path(), "Answers");
  if (!plugin) {
    std::fprintf(stderr, "kvferry-bench: external: %s\n", plugin.error().to_string().c_str());
    return false;
  }
  kvferry_instance* const instance = plugin->table.create(&host, "bench", nullptr, 0);
  const std::unique_ptr<Answerer> ours = std::make_unique<YesSayer>();

  const SteadyClock clock;
  const size_t calls = kShimItems / batch_size;
  const auto per_call = [&](auto call) {
    return [&, call] {
      const TimePoint start = clock.now();
      for (size_t i = 0; i < calls; ++i) call();
      return nanoseconds_since(clock, start) / static_cast<double>(calls);
    };
  };
  Answerer* volatile hidden = ours.get();  // which class it is, the compiler must not see
  const auto spreads = run_in_rounds(
      rounds, {per_call([&] { hidden->contains(batch->items); }), per_call([&] {
                 call_plugin(plugin->table, instance, batch->items).ignore("it does not throw");
               })});
  plugin->table.destroy(instance);
  if (batch->num_yes != 2 * calls * batch_size * static_cast<size_t>(rounds + 1)) {
    std::fprintf(stderr, "kvferry-bench: external: answers are missing\n");
    return false;
  }
  const double extra = spreads[1].median - spreads[0].median;
  std::printf(
      "shim/contains/batch:%-4zu virtual %8.1f ns +- %-6.1f plugin %8.1f ns +- %-6.1f  over it "
      "%7.1f ns a call, %6.1f ns an item\n",
      batch_size, spreads[0].median, spreads[0].mad, spreads[1].median, spreads[1].mad, extra,
      extra / static_cast<double>(batch_size));
  return true;
}

// ---- the whole way

/// Waits for the items of one batch.
class Countdown {
 public:
  void start(size_t count) {
    MutexLock lock(mutex_);
    left_ = count;
  }
  void end_one() {
    MutexLock lock(mutex_);
    if (--left_ == 0) ended_.notify_one();
  }
  void wait() {
    MutexLock lock(mutex_);
    while (left_ > 0) ended_.wait(mutex_);
  }

 private:
  Mutex mutex_;
  CondVar ended_;
  size_t left_ KVFERRY_GUARDED_BY(mutex_) = 0;
};

/// Nothing but the way to another thread and back: keys go there, and are answered one by one.
class BareThread {
 public:
  BareThread() : thread_([this] { run(); }) {}
  ~BareThread() {
    submit({}, nullptr);
    thread_.join();
  }

  void submit(std::span<const CacheEngineKey> keys, Done done) {
    {
      MutexLock lock(mutex_);
      batches_.emplace_back(std::vector(keys.begin(), keys.end()), std::move(done));
    }
    changed_.notify_one();
  }

 private:
  using Batch = std::pair<std::vector<CacheEngineKey>, Done>;

  Batch next() {
    MutexLock lock(mutex_);
    while (batches_.empty()) changed_.wait(mutex_);
    Batch batch = std::move(batches_.front());
    batches_.pop_front();
    return batch;
  }
  void run() {
    for (;;) {
      const auto [keys, done] = next();
      if (!done) return;
      for (size_t i = 0; i < keys.size(); ++i) done(i, true);
    }
  }

  Mutex mutex_;
  CondVar changed_;
  std::deque<Batch> batches_ KVFERRY_GUARDED_BY(mutex_);
  std::thread thread_;
};

double cpu_nanoseconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto ns = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_usec) * 1e3;
  };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

/// One batch after the other, each waited for.
class RoundTrips {
 public:
  using Submit = std::function<void(std::span<const CacheEngineKey>, Done)>;

  RoundTrips(size_t batch_size, Submit submit)
      : keys_(make_keys(batch_size)), submit_(std::move(submit)) {}

  /// Nanoseconds for one batch.
  double run() {
    const size_t batches = kQueuedItems / keys_.size();
    const double cpu = cpu_nanoseconds();
    const TimePoint start = clock_.now();
    for (size_t i = 0; i < batches; ++i) {
      countdown_.start(keys_.size());
      submit_(keys_, [this](size_t /*item*/, const Result<bool>& held) {
        if (!held || !*held) is_right_ = false;
        countdown_.end_one();
      });
      countdown_.wait();
    }
    const double elapsed = nanoseconds_since(clock_, start) / static_cast<double>(batches);
    cpu_.push_back((cpu_nanoseconds() - cpu) / static_cast<double>(batches));
    return elapsed;
  }
  /// Of both threads, for one batch.
  double cpu_median() const { return spread_of(cpu_).median; }
  bool is_right() const { return is_right_; }

 private:
  const SteadyClock clock_;
  const std::vector<CacheEngineKey> keys_;
  const Submit submit_;
  Countdown countdown_;
  std::atomic<bool> is_right_{true};
  std::vector<double> cpu_;
};

bool bench_queued(int rounds, size_t batch_size, StorageBackend& backend) {
  BareThread thread;
  RoundTrips bare(batch_size, [&](std::span<const CacheEngineKey> keys, Done done) {
    thread.submit(keys, std::move(done));
  });
  RoundTrips plugin(batch_size, [&](std::span<const CacheEngineKey> keys, Done done) {
    backend.submit_contains(keys, std::move(done));
  });
  const auto spreads =
      run_in_rounds(rounds, {[&] { return bare.run(); }, [&] { return plugin.run(); }});
  if (!bare.is_right() || !plugin.is_right()) {
    std::fprintf(stderr, "kvferry-bench: external: wrong answers; nothing is reported\n");
    return false;
  }
  std::printf(
      "queued/contains/batch:%-4zu bare thread %8.2f us +- %-6.2f (cpu %.2f)  plugin %8.2f us +- "
      "%-6.2f (cpu %.2f)  over it %6.2f us a batch, %6.3f us an item\n",
      batch_size, spreads[0].median / 1e3, spreads[0].mad / 1e3, bare.cpu_median() / 1e3,
      spreads[1].median / 1e3, spreads[1].mad / 1e3, plugin.cpu_median() / 1e3,
      (spreads[1].median - spreads[0].median) / 1e3,
      (spreads[1].median - spreads[0].median) / 1e3 / static_cast<double>(batch_size));
  return true;
}

/// Keeps this thread, and those it starts, on one processor: a thread that is woken on another one
/// costs several times as much, and where it is woken is the scheduler's whim.
class OneCpu {
 public:
  explicit OneCpu(bool is_on) {
    ::sched_getaffinity(0, sizeof(before_), &before_);
    if (!is_on) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<size_t>(::sched_getcpu()), &one);
    ::sched_setaffinity(0, sizeof(one), &one);
  }
  ~OneCpu() { ::sched_setaffinity(0, sizeof(before_), &before_); }
  OneCpu(const OneCpu&) = delete;
  OneCpu& operator=(const OneCpu&) = delete;

 private:
  cpu_set_t before_{};
};

bool bench_queue(int rounds) {
  const SteadyClock clock;
  const auto executor = ThreadExecutor::create("bench", clock).value();
  const auto workers = ThreadWorkPool::create("bench", 1).value();
  const auto pool = MemoryPool::create({.slot_bytes = 4096, .num_slots = 1}).value();
  BackendContext context;
  context.name = "plugin";
  context.executor = executor.get();
  context.work_pool = workers.get();
  context.allocator = pool.get();
  context.start_thread = start_detached_thread;
  ExternalOptions options;
  options.module_path = bench_plugin_path();
  options.class_name = "Answers";
  const auto backend = make_external_backend(context, options);
  if (!backend) {
    std::fprintf(stderr, "kvferry-bench: external: %s\n", backend.error().to_string().c_str());
    return false;
  }
  bool ok = true;
  for (const size_t size : kBatches) ok = ok && bench_queued(rounds, size, **backend);
  std::promise<void> closed;
  (*backend)->close([&closed] { closed.set_value(); });
  closed.get_future().wait();
  return ok;
}

}  // namespace

int run_plugin_bench(int rounds) {
  print_machine();
  std::printf("external: contains of a plugin that answers at once, medians of %d rounds\n",
              rounds);
  bool ok = true;
  for (const size_t size : kBatches) ok = ok && bench_shim(rounds, size);
  for (const bool is_one : {true, false}) {
    const OneCpu cpu(is_one);
    std::printf("queued, threads on %s:\n", is_one ? "one processor" : "any processor");
    ok = ok && bench_queue(rounds);
  }
  return ok ? 0 : 1;
}

}  // namespace kvferry
