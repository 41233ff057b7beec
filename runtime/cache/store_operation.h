#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "kvferry/cache_engine.h"
#include "runtime/cache/cache_context.h"
#include "runtime/cache/chunk_copy.h"

namespace kvferry {

/// One store: what no sink lacks is left alone; each other chunk is gathered once and put, by
/// reference, into every sink that lacks it.
///
/// Chunks are gathered as fast as memory and the sinks that move take them, and as their layers are
/// complete. A sink that stands still is not waited for: it gets nothing.
///
/// Threads: the control executor only; gathers run on the copiers.
class StoreOperation final : public CacheOperation,
                             public std::enable_shared_from_this<StoreOperation> {
 public:
  using Done = std::function<void(const StoreResult&)>;

  /// `layers` may be null: all of them are complete.
  StoreOperation(CacheContext& context, std::vector<ChunkRef> chunks, std::vector<int64_t> slots,
                 std::shared_ptr<LayerProgress> layers, std::function<void()> on_pages_read,
                 Done done);

  void start(TimePoint deadline);
  void stop(const Status& why) override;

 private:
  struct Chunk {
    ChunkRef what;
    std::vector<bool> missing;  // by sink
    size_t open_puts = 0;
    size_t good_puts = 0;
    bool is_ours = false;  // in context_.storing
    std::unique_ptr<ChunkGather> gather;
    int32_t planes_done = 0;
    bool is_copying = false;
  };

  void on_missing_known(StorageManager::Missing missing);
  void advance();
  size_t most_gathering() const;
  bool is_ready_for(const Chunk& chunk) const;
  void wait_a_moment();
  void begin_gather(size_t index);
  void on_layers();
  void gather_ready_planes(size_t index);
  void on_gathered(size_t index, int32_t planes, const Status& status);
  void put(size_t index, const MemoryObjPtr& obj);
  void on_put(size_t index, const Status& status);
  void end_chunk(size_t index);
  void note(const Status& status);
  void finish_if_done();

  CacheContext& context_;
  std::vector<Chunk> chunks_;
  const std::vector<int64_t> slots_;
  const std::shared_ptr<LayerProgress> layers_;
  std::function<void()> on_pages_read_;
  Done done_;

  StoreResult result_;
  size_t next_ = 0;
  size_t gathering_ = 0;  // chunks of which not all planes are read
  size_t open_ = 0;       // chunks that are being gathered or put
  bool knows_missing_ = false;
  bool is_stopped_ = false;
  bool is_waiting_ = false;
};

}  // namespace kvferry
