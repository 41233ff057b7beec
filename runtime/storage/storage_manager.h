#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "runtime/memory/memory_pool.h"
#include "runtime/storage/sink.h"

namespace kvferry {

/// A chunk that a sink gave. Not verified unless the object says so.
struct FetchedChunk {
  MemoryObjPtr obj;  ///< null: no sink has it, or gave it in time
  size_t sink = 0;   ///< index of the one that gave it
  /// What had been removed when it was asked for: what was read before the end of a removal is not
  /// put anywhere after it.
  uint64_t removals = 0;
};

/// What a caller wants of one chunk.
struct ChunkRequest {
  CacheEngineKey key;
  size_t size_bytes = 0;
  FetchPriority priority = FetchPriority::kForeground;
  TimePoint deadline = TimePoint::max();
};

/// One caller's wait for a chunk.
class ChunkWait;
using ChunkWaitPtr = std::shared_ptr<ChunkWait>;

/// Where the keys of a prompt are held, as far as sinks have been asked.
struct PrefixSearch {
  static constexpr size_t kNowhere = static_cast<size_t>(-1);

  explicit PrefixSearch(size_t num_keys) : sinks(num_keys, kNowhere) {}
  size_t first_gap() const {
    return static_cast<size_t>(std::find(sinks.begin(), sinks.end(), kNowhere) - sinks.begin());
  }

  std::vector<size_t> sinks;  ///< by key
  size_t next_sink = 0;       ///< those before it have been asked
};

struct StorageManagerStats {
  uint64_t shared_fetches = 0;  ///< found an equal one under way and waited for that
  uint64_t promotions = 0;
};

/// The sinks in the order of their tiers: where a chunk is, and how it gets into and out of them.
///
/// Threads: the control executor only, but for stats(); callbacks come on it, never from inside
///   the call.
class StorageManager {
 public:
  StorageManager(Executor& control, std::vector<std::shared_ptr<Sink>> sinks)
      : control_(control), sinks_(std::move(sinks)) {}

  size_t num_sinks() const { return sinks_.size(); }
  Sink& sink(size_t index) { return *sinks_[index]; }
  const Sink& sink(size_t index) const { return *sinks_[index]; }
  /// The first tier that answers from memory; empty if there is none (local_cpu: False).
  std::optional<size_t> memory_sink() const;

  /// Reads a chunk from the first sink that gives it, from `first_sink` on. Equal ones under way
  /// are fetched once; the most urgent says how.
  ChunkWaitPtr fetch(const ChunkRequest& request, size_t first_sink,
                     std::function<void(FetchedChunk)> done);
  /// Its `done` is never called. What nobody else waits for, and no backend has begun, is not read.
  void withdraw(const ChunkWaitPtr& wait);

  /// Puts it, by reference, into the sinks that `into` says; `done` once for each of them.
  void store(const CacheEngineKey& key, const MemoryObjPtr& obj, const std::vector<bool>& into,
             const std::function<void(size_t sink, Status)>& done);

  /// Which of the sinks that take puts lack which keys.
  struct Missing {
    std::vector<std::vector<bool>> by_key;  ///< for each key, by sink
    bool is_certain = true;  ///< false: a sink did not say; what it may lack it does not get
  };
  void find_missing(const std::vector<CacheEngineKey>& keys, TimePoint deadline,
                    std::function<void(Missing)> done);

  /// Goes on with `search`: how many of the keys, from the first on without a gap, some sink holds,
  /// and which one.
  void find_prefix(std::vector<CacheEngineKey> keys, PrefixSearch search, TimePoint deadline,
                   std::function<void(std::vector<size_t> sinks)> done);

  /// A verified chunk: into memory with it, if there is such a tier above where it came from.
  void promote(const CacheEngineKey& key, const FetchedChunk& chunk,
               std::function<void(Status)> done = nullptr);

  /// Takes keys out of all sinks, pinned or not; calls back with which were in any, in no order.
  /// Puts of them that are under way are waited for, and promotions that would bring them back do
  /// not happen.
  void remove(const std::vector<CacheEngineKey>& keys, std::function<void(Removal)> done);

  StorageManagerStats stats() const;

 private:
  friend class ChunkWait;
  struct SharedFetch;
  struct OpenPuts {
    size_t count = 0;
    std::vector<std::function<void()>> on_none;
  };

  ChunkWaitPtr begin_fetch(ChunkWaitPtr wait, size_t first_sink, bool is_shared);
  void try_next_sink(const std::shared_ptr<SharedFetch>& fetch);
  void on_given(const std::shared_ptr<SharedFetch>& fetch, Result<MemoryObjPtr> obj);
  void end_fetch(const std::shared_ptr<SharedFetch>& fetch, FetchedChunk chunk);
  void put(size_t sink, const CacheEngineKey& key, const MemoryObjPtr& obj,
           std::function<void(Status)> done);
  void remove_now(const std::vector<CacheEngineKey>& keys, std::function<void(Removal)> done);
  void ask_next_sink(const std::shared_ptr<std::vector<CacheEngineKey>>& keys, PrefixSearch search,
                     TimePoint deadline, std::function<void(std::vector<size_t>)> done);

  Executor& control_;
  const std::vector<std::shared_ptr<Sink>> sinks_;
  std::unordered_map<CacheEngineKey, std::shared_ptr<SharedFetch>> fetches_;
  std::unordered_map<CacheEngineKey, OpenPuts> puts_;
  uint64_t removals_ = 0;  // begun and ended
  size_t open_removals_ = 0;
  std::atomic<uint64_t> shared_fetches_{0};
  std::atomic<uint64_t> promotions_{0};
};

}  // namespace kvferry
