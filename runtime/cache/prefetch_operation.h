#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "kvferry/cache_engine.h"
#include "runtime/cache/cache_context.h"

namespace kvferry {

/// One prefetch: what memory lacks is read, verified and kept in memory, as far as
/// prefetch_max_in_flight lets it. What is refused is not waited for.
///
/// Threads: the control executor only; verification runs on the copiers.
class PrefetchOperation final : public CacheOperation,
                                public std::enable_shared_from_this<PrefetchOperation> {
 public:
  using Done = std::function<void(const PrefetchResult&)>;

  PrefetchOperation(CacheContext& context, std::vector<ChunkRef> chunks, Done done);

  void start(TimePoint deadline);
  void stop(const Status& why) override;

 private:
  void fetch(size_t index);
  void on_fetched(size_t index, const FetchedChunk& fetched);
  void end_chunk(size_t index, bool is_here);
  void finish_if_done();

  CacheContext& context_;
  const std::vector<ChunkRef> chunks_;
  std::vector<bool> is_here_;
  Done done_;
  TimePoint deadline_ = TimePoint::max();
  PrefetchResult result_;
  size_t next_ = 0;
  size_t open_ = 0;
  bool is_stopped_ = false;
};

}  // namespace kvferry
