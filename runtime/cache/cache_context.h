#pragma once

#include <atomic>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "kvferry/backend_context.h"
#include "kvferry/logger.h"
#include "runtime/cache/token_chunks.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/storage/storage_manager.h"
#include "runtime/telemetry/latency_histogram.h"

namespace kvferry {

struct CacheLimits {
  Duration store_timeout = std::chrono::seconds(10);
  Duration retrieve_timeout = std::chrono::seconds(10);
  Duration lookup_timeout = std::chrono::seconds(3);
  Duration pin_timeout = std::chrono::seconds(300);
  size_t prefetch_max_in_flight_bytes = size_t{256} << 20;
  /// That one retrieve reads ahead of its scatters: enough for a disk at depth, little enough for
  /// several retrieves at once. Two chunks at least, so that one is read while one is scattered.
  size_t read_ahead_bytes = size_t{64} << 20;
  int64_t min_retrieve_tokens = 0;
  size_t copy_threads = 1;
};

/// Counts of all operations. Threads: any thread.
struct CacheCounters {
  std::atomic<uint64_t> lookups{0};
  std::atomic<uint64_t> looked_up_tokens{0};
  std::atomic<uint64_t> found_tokens{0};
  std::atomic<uint64_t> retrieved_tokens{0};
  std::atomic<uint64_t> stored_chunks{0};
  std::atomic<uint64_t> mismatched_chunks{0};
  std::atomic<uint64_t> prefetched_chunks{0};
  std::atomic<uint64_t> refused_prefetch_chunks{0};
  std::atomic<uint64_t> prefetch_bytes{0};  ///< of chunks that prefetches are bringing
  std::atomic<uint64_t> timed_out_pins{0};
  LatencyHistogram lookup_latency;
  LatencyHistogram retrieve_latency;
  LatencyHistogram store_latency;
};

/// What the operations of one cache engine share. Borrowed by them; outlives them.
struct CacheContext {
  Executor& control;
  WorkPool& copiers;  ///< gather, scatter, verify
  MemoryPool& pool;
  StorageManager& storage;
  const TokenChunks& space;
  const CacheLimits limits;
  Logger* logger = nullptr;

  CacheCounters counters;
  // Control executor only.
  /// Chunks that a store gathers or puts right now; true: cleared since, so not to be put.
  std::unordered_map<CacheEngineKey, bool> storing;

  TimePoint now() const { return control.clock().now(); }
};

/// An operation that the engine must end before it ends itself.
///
/// Threads: control executor only
class CacheOperation {
 public:
  virtual ~CacheOperation() = default;
  /// Ends it as soon as its memory is quiet, as `why` says.
  virtual void stop(const Status& why) = 0;
};

}  // namespace kvferry
