#pragma once

#include <utility>

#include "kvferry/mutex.h"
#include "kvferry/transfer_engine.h"
#include "workload/engine/prompt_cache.h"

namespace kvferry {

/// Serves the chunks that a PromptCache holds; a chunk that is being read is kept from eviction.
///
/// Threads: any thread, internally locked.
class PromptProvider final : public ChunkProvider {
 public:
  explicit PromptProvider(PromptCache cache) : cache_(std::move(cache)) {}

  Result<PagedChunk> open_chunk(const ChunkRef& ref) override KVFERRY_EXCLUDES(mutex_);
  void close_chunk(const ChunkRef& ref) override KVFERRY_EXCLUDES(mutex_);

  /// Chunks opened and not closed yet.
  int64_t num_open() const KVFERRY_EXCLUDES(mutex_);

  /// Runs `what(cache)` while nobody else uses the cache.
  template <typename Function>
  auto with_cache(Function what) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return what(cache_);
  }

 private:
  mutable Mutex mutex_;
  PromptCache cache_ KVFERRY_GUARDED_BY(mutex_);
  int64_t num_open_ KVFERRY_GUARDED_BY(mutex_) = 0;
};

}  // namespace kvferry
