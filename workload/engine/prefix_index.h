#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "kvferry/cache_engine_key.h"
#include "kvferry/status.h"

namespace kvferry {

/// What an engine still holds of earlier prompts: a plain LRU from chunk keys to the blocks of its
/// paged cache that hold them.
///
/// Bounded by blocks. It never evicts by itself: insert() refuses what does not fit, and the owner
/// of the blocks calls evict_one() and gives the blocks back. Chunks in use are pinned; pins count.
///
/// Threads: any thread, caller serialises.
/// Cost: O(log chunks) a key.
class PrefixIndex {
 public:
  struct Evicted {
    CacheEngineKey key;
    std::vector<int64_t> blocks;
  };

  explicit PrefixIndex(int64_t max_blocks) : max_blocks_(max_blocks) {}
  PrefixIndex(PrefixIndex&&) = default;
  PrefixIndex& operator=(PrefixIndex&&) = default;
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  /// Number of leading keys that are held; changes nothing.
  size_t longest_prefix(std::span<const CacheEngineKey> keys) const;

  /// The blocks of a held chunk, else nullptr; valid until it is evicted or erased.
  const std::vector<int64_t>* find(const CacheEngineKey& key) const;

  /// Adds a chunk, as the most recently used one.
  ///
  /// Errors: kAlreadyExists if the key is held; kResourceExhausted if its blocks do not fit (evict
  ///   first), with nothing changed.
  Status insert(const CacheEngineKey& key, std::vector<int64_t> blocks);

  /// Makes a chunk the most recently used one; false if it is not held.
  bool touch(const CacheEngineKey& key);
  /// Touches the held ones of `keys` last to first, so that a prefix outlives what follows it.
  void touch_prefix(std::span<const CacheEngineKey> keys);

  /// Keeps a chunk from eviction until as many unpins. Neither counts as a use.
  /// Errors: kNotFound if the key is not held; unpin: kFailedPrecondition if it is not pinned.
  Status pin(const CacheEngineKey& key);
  Status unpin(const CacheEngineKey& key);

  /// Drops the least recently used chunk that is not pinned; nothing if there is none.
  std::optional<Evicted> evict_one();

  /// Drops a chunk that turned out to be bad; not counted as an eviction.
  /// Errors: kNotFound; kFailedPrecondition if it is pinned.
  Result<std::vector<int64_t>> erase(const CacheEngineKey& key);

  int64_t num_chunks() const { return static_cast<int64_t>(entries_.size()); }
  int64_t held_blocks() const { return held_blocks_; }
  int64_t max_blocks() const { return max_blocks_; }
  int64_t evictions() const { return evictions_; }

 private:
  struct Entry {
    std::vector<int64_t> blocks;
    uint64_t last_use = 0;
    int64_t pins = 0;
  };
  using Entries = std::unordered_map<CacheEngineKey, Entry>;

  std::vector<int64_t> remove(Entries::iterator entry);

  int64_t max_blocks_;
  int64_t held_blocks_ = 0;
  int64_t evictions_ = 0;
  uint64_t uses_ = 0;
  Entries entries_;
  std::map<uint64_t, const CacheEngineKey*> evictable_;  ///< by last use; keys live in entries_
};

}  // namespace kvferry
