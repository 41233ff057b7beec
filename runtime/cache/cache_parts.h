#pragma once

#include <memory>
#include <vector>

#include "kvferry/cache_engine.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/telemetry/backend_counters.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"

namespace kvferry {

/// What a cache engine is made of, in the order in which it is made.
struct CacheParts {
  SteadyClock clock;
  std::unique_ptr<MemoryPool> pool;
  std::unique_ptr<ThreadWorkPool> io;  ///< blocking calls of backends
  std::vector<std::unique_ptr<ThreadExecutor>> sink_executors;
  std::unique_ptr<ThreadWorkPool> copiers;
  std::unique_ptr<ThreadExecutor> control;
  /// In the order of the tiers; of each, what it counts for itself.
  std::vector<std::unique_ptr<BackendCounters>> counters;
  std::vector<std::unique_ptr<StorageBackend>> backends;
};

/// Makes all of it from a configuration, or nothing.
///
/// Errors: what the factories say, with the sink's name; kInvalidArgument for a pool in which not
///   two chunks of `chunk_bytes` have room.
Result<std::unique_ptr<CacheParts>> compose_cache(const CacheConfig& config, size_t chunk_bytes,
                                                  Logger* logger);

}  // namespace kvferry
