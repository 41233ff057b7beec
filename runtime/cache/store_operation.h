#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "kvferry/cache_engine.h"
#include "runtime/cache/cache_context.h"

namespace kvferry {

/// One store: what no sink lacks is left alone; each other chunk is gathered once and put, by
/// reference, into every sink that lacks it.
///
/// Chunks are gathered as fast as memory and the sinks that move take them. A sink that stands
/// still is not waited for: it gets nothing.
///
/// Threads: the control executor only; gathers run on the copiers.
class StoreOperation final : public CacheOperation,
                             public std::enable_shared_from_this<StoreOperation> {
 public:
  using Done = std::function<void(const StoreResult&)>;

  StoreOperation(CacheContext& context, std::vector<ChunkRef> chunks, std::vector<int64_t> slots,
                 std::function<void()> on_pages_read, Done done);

  void start(TimePoint deadline);
  void stop(const Status& why) override;

 private:
  struct Chunk {
    ChunkRef what;
    std::vector<bool> missing;  // by sink
    size_t open_puts = 0;
    size_t good_puts = 0;
    bool is_ours = false;  // in context_.storing
  };

  void on_missing_known(StorageManager::Missing missing);
  void advance();
  bool is_ready_for(const Chunk& chunk) const;
  void wait_a_moment();
  void begin_gather(size_t index);
  void gather(size_t index, MemoryObjPtr obj);
  void put(size_t index, const MemoryObjPtr& obj);
  void on_put(size_t index, const Status& status);
  void end_chunk(size_t index);
  void note(const Status& status);
  void finish_if_done();

  CacheContext& context_;
  std::vector<Chunk> chunks_;
  const std::vector<int64_t> slots_;
  std::function<void()> on_pages_read_;
  Done done_;

  StoreResult result_;
  size_t next_ = 0;
  size_t gathering_ = 0;
  size_t open_ = 0;  // chunks that are being gathered or put
  bool knows_missing_ = false;
  bool is_stopped_ = false;
  bool is_waiting_ = false;
};

}  // namespace kvferry
