#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "kvferry/cache_engine.h"
#include "runtime/cache/cache_context.h"
#include "runtime/cache/chunk_copy.h"

namespace kvferry {

/// One retrieve: chunks are read ahead within a window and scattered as they come, while the next
/// are read. The first chunk that no sink gives in time, verified, ends the prefix.
///
/// Layer by layer, the chunks are read first, as many as memory has room for, then each layer of
/// all of them is scattered.
///
/// Threads: the control executor only; scatters run on the copiers.
class RetrieveOperation final : public CacheOperation,
                                public std::enable_shared_from_this<RetrieveOperation> {
 public:
  using Done = std::function<void(const RetrieveResult&)>;
  using OnLayer = std::function<void(int32_t layer, int64_t tokens)>;

  RetrieveOperation(CacheContext& context, std::vector<ChunkRef> chunks, std::vector<int64_t> slots,
                    OnLayer on_layer, Done done);

  void start(TimePoint deadline);
  void stop(const Status& why) override;

 private:
  enum class State : uint8_t { kWaiting, kFetching, kFetched, kCopying, kGood };
  struct Chunk {
    ChunkRef what;
    State state = State::kWaiting;
    bool is_skipped = false;  // all slots negative: good as it is
    ChunkWaitPtr wait;
    FetchedChunk fetched;  // its object only until it is good
    std::unique_ptr<ChunkScatter> scatter;
  };

  static bool is_good(const Chunk& chunk) {
    return chunk.is_skipped || chunk.state == State::kGood;
  }
  std::span<const int64_t> slots_of(const Chunk& chunk) const;
  /// Chunks that may be ahead at a time.
  size_t window() const;
  void advance();
  void fetch(size_t index, size_t first_sink);
  void on_fetched(size_t index, const FetchedChunk& fetched);
  void scatter(size_t index);
  void on_scattered(size_t index, const Status& status);
  void scatter_layer(int32_t layer);
  void on_layer_scattered(int32_t layer, size_t good, const Status& wrong);
  void accept(Chunk& chunk);
  /// The prefix is at most the chunks before `index`; what is queued of the others is withdrawn.
  void cut(size_t index);
  void drop_bad(size_t index, const Status& why);
  void finish_if_done();
  int64_t tokens_before(size_t index) const;

  CacheContext& context_;
  std::vector<Chunk> chunks_;
  const std::vector<int64_t> slots_;
  const OnLayer on_layer_;
  Done done_;  // empty once it has run

  TimePoint deadline_ = TimePoint::max();
  size_t most_ahead_ = 1;
  Status status_;
  size_t next_ = 0;     // to be fetched
  size_t end_ = 0;      // chunks that may still become good
  size_t ahead_ = 0;    // being fetched, or fetched and not scattered
  size_t copying_ = 0;  // scatters under way
  bool layers_started_ = false;
  bool is_stopped_ = false;
};

}  // namespace kvferry
