#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>

#include "kvferry/cache_engine.h"
#include "kvferry/mutex.h"
#include "runtime/cache/token_chunks.h"
#include "runtime/steady_clock.h"
#include "tools/replay/replay_report.h"
#include "workload/engine/paged_kv_cache.h"

namespace kvferry {

/// An engine that serves the requests of a trace, several at a time, over a CacheEngine: looks a
/// prompt up, retrieves what is there into pages of its own, compares every byte of it with the
/// oracle, computes the rest (the oracle writes it), and stores.
///
/// It keeps nothing itself between requests, so that every hit is the cache engine's.
class ReplayRun {
 public:
  /// `logger` is borrowed. Errors: those of CacheEngine::create; kResourceExhausted for pages.
  static Result<std::unique_ptr<ReplayRun>> create(const ReplayPlan& plan, Logger* logger);

  /// Runs all requests; `on_request` after each, one at a time. Ends early, after the requests that
  /// have begun, once `is_interrupted` says so.
  ReplayReport run(const std::function<void(const ReplayReport&)>& on_request,
                   const std::function<bool()>& is_interrupted);

 private:
  ReplayRun(const ReplayPlan& plan, PagedKVCache pages, TokenChunks space)
      : plan_(plan), pages_(std::move(pages)), space_(std::move(space)) {}

  /// The next request, when its time has come; empty at the end.
  std::optional<size_t> take_request(const std::function<bool()>& is_interrupted)
      KVFERRY_EXCLUDES(mutex_);
  void serve_requests(const std::function<void(const ReplayReport&)>& on_request,
                      const std::function<bool()>& is_interrupted);
  RequestOutcome serve(const TraceRequest& request);
  Status serve_in_pages(const std::vector<uint32_t>& tokens, const std::vector<ChunkRef>& chunks,
                        const std::vector<int64_t>& slots, RequestOutcome& outcome);
  void note_accesses(const std::vector<ChunkRef>& chunks) KVFERRY_EXCLUDES(mutex_);
  void add_optimum(ReplayReport& report) const;

  const ReplayPlan& plan_;
  PagedKVCache pages_;
  const TokenChunks space_;
  std::unique_ptr<CacheEngine> engine_;
  const SteadyClock clock_;
  TimePoint start_{};

  Mutex mutex_;
  CondVar blocks_freed_;
  size_t next_ KVFERRY_GUARDED_BY(mutex_) = 0;
  ReplayReport report_ KVFERRY_GUARDED_BY(mutex_);
  std::unordered_map<CacheEngineKey, uint32_t> numbers_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
