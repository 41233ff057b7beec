#pragma once

#include <functional>
#include <memory>
#include <unordered_set>
#include <vector>

#include "kvferry/cache_engine.h"
#include "runtime/cache/cache_context.h"
#include "runtime/cache/prefix_pins.h"
#include "runtime/thread_executor.h"

namespace kvferry {

/// A CacheEngine over sinks that somebody has made: what CacheEngine is, without configuration.
///
/// Threads: any thread, but for its end; executors, pool and copiers are borrowed and outlive it.
class CacheCore {
 public:
  CacheCore(ThreadExecutor& control, WorkPool& copiers, MemoryPool& pool, TokenChunks space,
            std::vector<std::shared_ptr<Sink>> sinks, CacheLimits limits, Logger* logger);
  CacheCore(const CacheCore&) = delete;
  CacheCore& operator=(const CacheCore&) = delete;

  LookupResult lookup(std::span<const uint32_t> tokens, bool pin,
                      std::span<const std::string> extra_keys = {});
  OperationHandle<StoreResult> store(const PagedTokens& pages, StoreOptions options);
  OperationHandle<RetrieveResult> retrieve(const PagedTokens& pages, RetrieveOptions options);
  OperationHandle<PrefetchResult> prefetch(std::span<const uint32_t> tokens,
                                           std::span<const std::string> extra_keys = {});
  ClearResult clear(std::span<const uint32_t> tokens, std::span<const std::string> extra_keys = {});
  CacheStats stats() const;
  const std::vector<std::shared_ptr<Sink>>& sinks() const { return sinks_; }

  /// Ends every operation and closes every sink. False when one has not closed by `timeout`: then
  /// nothing of it may be destroyed any more.
  bool close(Duration timeout);

 private:
  std::vector<size_t> find_prefix(const std::vector<ChunkRef>& chunks, TimePoint deadline);
  size_t pin_prefix(const std::vector<ChunkRef>& chunks, const std::vector<size_t>& sinks,
                    TimePoint deadline, LookupResult& result);
  template <typename T, typename Make>
  OperationHandle<T> begin(Duration timeout, Status refusal, LatencyHistogram* latency,
                           std::function<void(const T&)> on_done, Make make);

  ThreadExecutor& control_;
  const TokenChunks space_;
  const std::vector<std::shared_ptr<Sink>> sinks_;
  StorageManager storage_;
  CacheContext context_;
  PinTimeouts pin_timeouts_;
  std::atomic<uint64_t> next_owner_{1};

  // Control executor only.
  std::unordered_set<std::shared_ptr<CacheOperation>> operations_;
  bool is_closed_ = false;
};

}  // namespace kvferry
