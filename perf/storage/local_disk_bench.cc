#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "backends/local_disk/factory.h"
#include "kvferry/chunk_record.h"
#include "perf/benchmarks.h"
#include "perf/rounds.h"
#include "perf/storage/bare_ring.h"
#include "perf/storage/chunks.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"

namespace kvferry {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMib = size_t{1} << 20;
constexpr size_t kGetRounds = 2;  // over all chunks, in one timing

/// A store in a directory of its own, and what it needs to live.
class Store {
 public:
  Store(const fs::path& directory, MemoryPool& pool, size_t depth, DiskIo io) : pool_(pool) {
    executor_ = ThreadExecutor::create("bench", clock_).value();
    work_pool_ = ThreadWorkPool::create("bench", depth).value();
    BackendContext context;
    context.name = "local_disk";
    context.executor = executor_.get();
    context.work_pool = work_pool_.get();
    context.allocator = &pool_;
    LocalDiskOptions options;
    options.path = directory;
    options.max_bytes = uint64_t{1} << 40;
    options.queue_depth = depth;
    options.io = io;
    backend_ = make_local_disk_backend(context, options).value();
  }
  ~Store() {
    std::promise<void> closed;
    backend_->close([&closed] { closed.set_value(); });
    closed.get_future().wait();
    work_pool_.reset();
  }

  /// Seconds for all of them, submitted at once.
  double put(const std::vector<BenchChunk>& chunks, bool& ok) {
    std::vector<CacheEngineKey> keys;
    std::vector<MemoryObjPtr> objs;
    for (const BenchChunk& chunk : chunks) {
      keys.push_back(chunk.key);
      objs.push_back(chunk.obj);
    }
    std::promise<void> done;
    std::atomic<size_t> missing{keys.size()};
    std::atomic<bool> all_ok{true};
    const TimePoint start = clock_.now();
    backend_->submit_put(keys, objs, {}, [&](size_t, const Status& status) {
      if (!status.is_ok()) all_ok = false;
      if (missing.fetch_sub(1) == 1) done.set_value();
    });
    done.get_future().wait();
    ok = ok && all_ok.load();
    return seconds_since(start);
  }

  /// Seconds for those of `order`, each dropped when it has come; with `check`, compared with what
  /// was put.
  double get(const std::vector<BenchChunk>& chunks, const std::vector<size_t>& order, bool check,
             bool& ok) {
    std::vector<CacheEngineKey> keys;
    keys.reserve(order.size());
    for (const size_t i : order) keys.push_back(chunks[i].key);
    std::promise<void> done;
    std::atomic<size_t> missing{keys.size()};
    std::atomic<bool> all_ok{true};
    const TimePoint start = clock_.now();
    backend_->submit_get(keys, {}, [&](size_t item, Result<MemoryObjPtr> obj) {
      bool is_good = obj.has_value() && *obj;
      if (is_good && check) {
        is_good = verify_chunk(keys[item], **obj).is_ok() &&
                  std::ranges::equal((*obj)->bytes(), chunks[order[item]].obj->bytes());
      }
      if (!is_good) all_ok = false;
      obj->reset();
      if (missing.fetch_sub(1) == 1) done.set_value();
    });
    done.get_future().wait();
    ok = ok && all_ok.load();
    return seconds_since(start);
  }

 private:
  double seconds_since(TimePoint start) const {
    return std::chrono::duration<double>(clock_.now() - start).count();
  }

  const SteadyClock clock_;
  MemoryPool& pool_;
  std::unique_ptr<ThreadExecutor> executor_;
  std::unique_ptr<ThreadWorkPool> work_pool_;
  std::unique_ptr<StorageBackend> backend_;
};

/// GB/s of fio with files, sizes and depth as the store has them; 0 if there is no fio.
double run_fio(const fs::path& directory, size_t chunk_bytes, size_t num_chunks, size_t depth,
               DiskIo io, bool write) {
  const std::string engine =
      io == DiskIo::kPread
          ? "psync --thread --numjobs=" + std::to_string(depth) + " --group_reporting"
          : "io_uring --fixedbufs=1 --iodepth=" + std::to_string(depth);
  const size_t files = io == DiskIo::kPread ? num_chunks / depth : num_chunks;
  std::string command = "fio --name=f --direct=1 --output-format=terse --terse-version=3";
  command += " --directory=" + directory.string() + " --ioengine=" + engine;
  command += " --rw=" + std::string(write ? "write" : "randread");
  command += " --bs=" + std::to_string(chunk_bytes) + " --nrfiles=" + std::to_string(files);
  command += " --filesize=" + std::to_string(chunk_bytes) + " --fallocate=native";
  command += write ? " --create_on_open=1 --file_service_type=sequential"
                   : " --file_service_type=random --loops=" + std::to_string(kGetRounds);
  command += " 2>/dev/null";
  std::FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return 0;
  std::string line;
  std::array<char, 4096> part{};
  while (std::fgets(part.data(), part.size(), pipe) != nullptr) line += part.data();
  if (::pclose(pipe) != 0) return 0;
  // Field 7 is the bandwidth of reads, 48 that of writes, in KiB/s.
  size_t begin = 0;
  for (int field = 1; field < (write ? 48 : 7); ++field) begin = line.find(';', begin) + 1;
  return std::strtod(line.c_str() + begin, nullptr) * 1024 / 1e9;
}

/// GB/s of each contender over the repetitions.
struct Rates {
  std::vector<double> ours;
  std::vector<double> ring;
  std::vector<double> fio;
};

void print_beside(const char* name, const Spread& ours, const std::vector<double>& rates) {
  if (rates.empty() || rates.front() == 0) return;
  const Spread spread = spread_of(rates);
  std::printf("   %s %5.2f (%.2f to %.2f) ratio %.2f", name, spread.median, spread.low, spread.high,
              ours.median / spread.median);
}

void print(const char* what, size_t chunk_mib, size_t depth, const Rates& rates) {
  const Spread ours = spread_of(rates.ours);
  std::printf("%s/chunk_mib:%-2zu depth:%-2zu %5.2f GB/s (%.2f to %.2f)", what, chunk_mib, depth,
              ours.median, ours.low, ours.high);
  print_beside("ring", ours, rates.ring);
  print_beside("fio", ours, rates.fio);
  std::printf("\n");
}

/// `rounds` times through all chunks, each time in another order.
std::vector<size_t> random_order(size_t num_chunks, size_t rounds) {
  std::vector<size_t> order;
  std::mt19937_64 random(rounds);
  for (size_t i = 0; i < rounds; ++i) {
    std::vector<size_t> round(num_chunks);
    std::iota(round.begin(), round.end(), 0);
    std::shuffle(round.begin(), round.end(), random);
    order.insert(order.end(), round.begin(), round.end());
  }
  return order;
}

/// What one size of chunks is measured with.
struct Case {
  const DiskBenchOptions& options;
  DiskIo io = DiskIo::kAuto;
  HugePages huge_pages = HugePages::kPrefer;
  size_t chunk_mib = 0;
};

/// One turn of every contender.
bool run_once(const Case& which, MemoryPool& pool, const std::vector<BenchChunk>& chunks,
              Rates& put, Rates& get) {
  const SteadyClock clock;
  const size_t bytes = which.chunk_mib * kMib;
  const size_t depth = which.options.depth;
  const double gb = static_cast<double>(chunks.size() * bytes) / 1e9;
  const fs::path root = fs::path(which.options.directory) / "kvferry-bench";
  const fs::path fio = root / "fio";
  fs::remove_all(root);
  fs::create_directories(fio);
  const auto rate_of = [&](double gigabytes, auto run) {
    const TimePoint start = clock.now();
    const bool ok = run();
    const double rate = gigabytes / std::chrono::duration<double>(clock.now() - start).count();
    return ok ? rate : 0;
  };
  bool ok = true;
  {
    Store store(root / "store", pool, depth, which.io);
    const auto ring =
        which.io == DiskIo::kPread ? nullptr : BareRing::create(root / "ring", pool, depth);
    std::vector<MemoryObjPtr> objs;
    objs.reserve(chunks.size());
    for (const BenchChunk& chunk : chunks) objs.push_back(chunk.obj);

    put.ours.push_back(gb / store.put(chunks, ok));
    if (ring) put.ring.push_back(rate_of(gb, [&] { return ring->put(objs); }));
    put.fio.push_back(run_fio(fio, bytes, chunks.size(), depth, which.io, true));

    // Each file is read once before that, and compared.
    const auto once = random_order(chunks.size(), 1);
    const auto order = random_order(chunks.size(), kGetRounds);
    store.get(chunks, once, true, ok);
    ok = ok && (!ring || ring->get(once, bytes, objs));
    run_fio(fio, bytes, chunks.size(), depth, which.io, false);
    get.ours.push_back(gb * kGetRounds / store.get(chunks, order, false, ok));
    if (ring) {
      get.ring.push_back(rate_of(gb * kGetRounds, [&] { return ring->get(order, bytes, {}); }));
    }
    get.fio.push_back(run_fio(fio, bytes, chunks.size(), depth, which.io, false));
    store.get(chunks, once, true, ok);
  }
  fs::remove_all(root);
  return ok;
}

bool bench_size(const Case& which) {
  const size_t bytes = which.chunk_mib * kMib;
  const size_t depth = which.options.depth;
  const size_t num_chunks = std::max<size_t>(which.options.mib / which.chunk_mib, 2 * depth);
  auto pool = MemoryPool::create({bytes, num_chunks + 2 * depth, which.huge_pages}).value();
  std::vector<BenchChunk> chunks;
  for (size_t i = 0; i < num_chunks; ++i) chunks.push_back(make_bench_chunk(*pool, bytes, i));
  Rates put;
  Rates get;
  for (int rep = 0; rep < which.options.reps; ++rep) {
    if (run_once(which, *pool, chunks, put, get)) continue;
    std::fprintf(stderr,
                 "kvferry-bench: local_disk: wrong or missing chunks; nothing is reported\n");
    return false;
  }
  const std::string how = std::string(which.io == DiskIo::kPread ? "pread" : "io_uring") +
                          (pool->huge_page_bytes() > 0 ? "/pages:2M" : "/pages:4k");
  print(("put/" + how).c_str(), which.chunk_mib, depth, put);
  print(("get/" + how).c_str(), which.chunk_mib, depth, get);
  return true;
}

}  // namespace

int run_local_disk_bench(const DiskBenchOptions& options) {
  print_machine();
  std::printf(
      "local_disk: %zu MiB in %s, O_DIRECT, durability none, %d times, medians; pages are those of "
      "our memory and the ring's, fio has 4k ones of its own\n",
      options.mib, options.directory.c_str(), options.reps);
  bool ok = true;
  for (const HugePages pages : {HugePages::kPrefer, HugePages::kNever}) {
    for (const DiskIo io : {DiskIo::kAuto, DiskIo::kPread}) {
      for (const size_t mib : options.chunk_mib) ok = ok && bench_size({options, io, pages, mib});
    }
  }
  return ok ? 0 : 1;
}

}  // namespace kvferry
