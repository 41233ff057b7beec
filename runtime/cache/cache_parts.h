#pragma once

#include <memory>
#include <vector>

#include "kvferry/cache_engine.h"
#include "kvferry/peer_exchange.h"
#include "kvferry/transfer_engine.h"
#include "runtime/cache/token_chunks.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/telemetry/backend_counters.h"
#include "runtime/telemetry/detachable_logger.h"
#include "runtime/thread_executor.h"
#include "runtime/thread_work_pool.h"

namespace kvferry {

/// How long backends may take to close, before what they have is left to them.
inline constexpr Duration kCloseTimeout = std::chrono::seconds(30);

/// One tier, and what it counts for itself.
struct CacheTier {
  std::unique_ptr<StorageBackend> backend;
  BackendCounters* counters = nullptr;
};

/// What a cache engine is made of, in the order in which it is made.
struct CacheParts {
  explicit CacheParts(Logger* log) : logger(log) {}

  SteadyClock clock;
  DetachableLogger logger;
  std::unique_ptr<MemoryPool> pool;
  // Of each sink its own, so that one that hangs keeps nobody else's.
  std::vector<std::unique_ptr<ThreadWorkPool>> io;
  std::vector<std::unique_ptr<ThreadExecutor>> sink_executors;
  std::vector<std::unique_ptr<BackendCounters>> counters;
  std::unique_ptr<ThreadWorkPool> copiers;
  std::unique_ptr<ThreadExecutor> control;
  std::vector<CacheTier> tiers;
  /// What peers are given of the tier in memory, which outlives it; null: nothing.
  std::unique_ptr<PeerStore> shared_memory;
  std::unique_ptr<TransferEngine> peers;  ///< null: there are none
  uint16_t peer_port = 0;                 ///< 0: it does not listen
};

/// Makes all of it from a configuration, or nothing. `transport` leads to peers; null: a new one.
///
/// Errors: what the factories say, with the sink's name; kInvalidArgument for a pool in which not
///   two chunks have room.
Result<std::unique_ptr<CacheParts>> compose_cache(const CacheConfig& config,
                                                  const TokenChunks& space,
                                                  std::shared_ptr<Transport> transport,
                                                  Logger* logger);

/// Ends every thread, once every backend is closed. What a plugin that was left behind still has
/// in its hands stays.
void stop_threads(CacheParts& parts);

/// Closes the backends of parts that nobody uses, and ends them; those of a backend that does not
/// close stay as they are until the process ends.
void dismantle(std::unique_ptr<CacheParts> parts);

}  // namespace kvferry
