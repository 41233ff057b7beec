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
#include "perf/storage/chunks.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"

namespace kvferry {
namespace {

namespace fs = std::filesystem;

constexpr std::array<size_t, 3> kChunkMib = {1, 4, 32};
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

  /// Seconds for all of them, in random order, each dropped when it has come; with `check`,
  /// compared with what was put.
  double get(const std::vector<BenchChunk>& chunks, size_t rounds, bool check, bool& ok) {
    std::vector<size_t> order;
    std::mt19937_64 random(rounds);
    for (size_t i = 0; i < rounds; ++i) {
      std::vector<size_t> round(chunks.size());
      std::iota(round.begin(), round.end(), 0);
      std::shuffle(round.begin(), round.end(), random);
      order.insert(order.end(), round.begin(), round.end());
    }
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

struct Rates {
  std::vector<double> ours;
  std::vector<double> fio;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void print(const char* what, size_t chunk_mib, size_t depth, const Rates& rates) {
  const auto [low, high] = std::ranges::minmax(rates.ours);
  std::printf("%s/chunk_mib:%-3zu depth:%-3zu %6.2f GB/s (%.2f to %.2f)", what, chunk_mib, depth,
              median(rates.ours), low, high);
  if (median(rates.fio) > 0) {
    const auto [fio_low, fio_high] = std::ranges::minmax(rates.fio);
    std::printf("   fio %6.2f (%.2f to %.2f)   ratio %.2f", median(rates.fio), fio_low, fio_high,
                median(rates.ours) / median(rates.fio));
  }
  std::printf("\n");
}

bool bench_size(const DiskBenchOptions& options, DiskIo io, size_t chunk_mib) {
  const size_t bytes = chunk_mib * kMib;
  const size_t num_chunks = std::max<size_t>(options.mib / chunk_mib, 2 * options.depth);
  auto pool = MemoryPool::create({bytes, num_chunks + 2 * options.depth}).value();
  std::vector<BenchChunk> chunks;
  for (size_t i = 0; i < num_chunks; ++i) chunks.push_back(make_bench_chunk(*pool, bytes, i));
  const fs::path root = fs::path(options.directory) / "kvferry-bench";
  const double gb = static_cast<double>(num_chunks * bytes) / 1e9;
  Rates put;
  Rates get;
  bool ok = true;
  for (int rep = 0; rep < options.reps && ok; ++rep) {
    const fs::path fio = root / "fio";
    fs::remove_all(root);
    fs::create_directories(fio);
    {
      Store store(root / "store", *pool, options.depth, io);
      put.ours.push_back(gb / store.put(chunks, ok));
      put.fio.push_back(run_fio(fio, bytes, num_chunks, options.depth, io, true));
      store.get(chunks, 1, true, ok);
      get.ours.push_back(gb * kGetRounds / store.get(chunks, kGetRounds, false, ok));
      // Both read each file once before that.
      run_fio(fio, bytes, num_chunks, options.depth, io, false);
      get.fio.push_back(run_fio(fio, bytes, num_chunks, options.depth, io, false));
      store.get(chunks, 1, true, ok);
    }
    fs::remove_all(root);
  }
  if (!ok) {
    std::fprintf(stderr,
                 "kvferry-bench: local_disk: wrong or missing chunks; nothing is reported\n");
    return false;
  }
  const bool is_ring = io != DiskIo::kPread;
  print(is_ring ? "put/io_uring" : "put/pread", chunk_mib, options.depth, put);
  print(is_ring ? "get/io_uring" : "get/pread", chunk_mib, options.depth, get);
  return true;
}

}  // namespace

int run_local_disk_bench(const DiskBenchOptions& options) {
  std::printf("local_disk: %zu MiB in %s, O_DIRECT, durability none, %d times, medians\n",
              options.mib, options.directory.c_str(), options.reps);
  bool ok = true;
  for (const DiskIo io : {DiskIo::kAuto, DiskIo::kPread}) {
    for (const size_t chunk_mib : kChunkMib) ok = ok && bench_size(options, io, chunk_mib);
  }
  return ok ? 0 : 1;
}

}  // namespace kvferry
