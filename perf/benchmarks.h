#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace kvferry {

// What kvferry-bench runs. Each checks the bytes that it moved, prints to stdout, and returns an
// exit code.

/// Gather and scatter on the host against the ceiling of the same run: the better of memcpy and a
/// contiguous streaming copy, over a working set larger than most caches. Beside them the bare
/// runs: the same pages in the same order, without digests or bookkeeping, which is what the order
/// of the pages leaves of the ceiling.
int run_host_copy_bench(size_t gib, int reps);

/// The price of a transfer apart from its bytes: small transfers a second, the time of one chunk,
/// and what a connected pair uses while it has nothing to do.
int run_transfer_bench(int rounds);

/// What a lookup and a get cost when memory has the chunk, beside a bare hash map.
int run_local_cpu_bench(int rounds);

/// What a plugin costs over a virtual call: the C boundary alone, and the whole way through its
/// thread, queue and deadlines beside a bare thread that is handed the same batches.
int run_plugin_bench(int rounds);

struct StuckPluginOptions {
  std::string directory = ".";
  int rounds = 11;
  int window_ms = 300;
};

/// What a plugin that answers nothing costs the tiers beside it.
int run_stuck_plugin_bench(const StuckPluginOptions& options);

struct RedisBenchOptions {
  size_t mib = 64;  ///< put and got each time
  int64_t connections = 2;
  int rounds = 9;
};

/// Puts and gets of the remote store, on a redis-server of its own, beside a bare loop over hiredis
/// with as many connections and as many commands unanswered on each. Without a server: nothing.
int run_redis_bench(const RedisBenchOptions& options);

struct DiskBenchOptions {
  std::string directory = ".";
  size_t mib = 512;  ///< put and got each time
  std::vector<size_t> chunk_mib = {1, 4, 32};
  size_t depth = 8;
  int reps = 5;
};

/// Puts and random gets of local_disk by both of its engines, with and without huge pages, in turn
/// with what a bare io_uring does from and to the same memory, and with fio: files of the same size
/// and number in the same directory, the same depth, direct. Without fio: no ratio to it.
int run_local_disk_bench(const DiskBenchOptions& options);

}  // namespace kvferry
