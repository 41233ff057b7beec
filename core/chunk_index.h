#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/eviction_policy.h"
#include "kvferry/cache_engine_key.h"
#include "kvferry/pin_counts.h"

namespace kvferry {

/// Which chunks a store holds, how large they are, who pins them, and which goes next.
///
/// Held within `max_bytes`: who inserts makes room first. `Value` is where the chunk is.
///
/// Threads: caller serialises
/// Cost: O(1) a call, evict() amortised over what it passes over; no copy of a key but the index's
template <typename Value>
class ChunkIndex {
 public:
  struct Entry : EvictionHook {
    const CacheEngineKey* key = nullptr;  // of the map's node
    size_t bytes = 0;
    PinCounts pins;
    Value value;
  };

  /// `typical_bytes` of a chunk, to size the policy's queues.
  ChunkIndex(CachePolicy policy, size_t max_bytes, size_t typical_bytes)
      : max_bytes_(max_bytes),
        policy_(
            make_eviction_policy(policy, typical_bytes == 0 ? 1 : max_bytes / typical_bytes + 1)) {}

  /// Null if it is not held.
  Entry* find(const CacheEngineKey& key) {
    const auto found = entries_.find(key);
    return found == entries_.end() ? nullptr : &found->second;
  }
  void touch(Entry& entry) { policy_->touch(entry); }

  bool has_room(size_t bytes) const { return bytes_ + bytes <= max_bytes_; }
  /// REQUIRES: has_room(bytes), and the key is not held
  Entry& insert(const CacheEngineKey& key, size_t bytes, Value value) {
    const auto [place, is_new] = entries_.try_emplace(key);
    Entry& entry = place->second;
    entry.key = &place->first;
    entry.ghost_key = std::hash<CacheEngineKey>()(key);
    entry.bytes = bytes;
    entry.value = std::move(value);
    bytes_ += bytes;
    policy_->insert(entry);
    return entry;
  }

  /// Takes it out, pinned or not, and gives what it held.
  Value erase(Entry& entry) {
    policy_->erase(entry);
    return take_out(entry);
  }

  /// Takes out what the policy says, unless it is pinned or `is_free` says no: then the next.
  /// False when none may go.
  template <typename IsFree, typename OnEvicted>
  bool evict(IsFree&& is_free, OnEvicted&& on_evicted) {
    for (size_t i = entries_.size(); i > 0; --i) {
      auto* entry = static_cast<Entry*>(policy_->victim());
      if (entry == nullptr) return false;
      if (entry->pins.is_pinned() || !is_free(*entry)) {
        policy_->pass_over(*entry);
        continue;
      }
      policy_->evict(*entry);
      const CacheEngineKey key = *entry->key;
      on_evicted(key, take_out(*entry));
      ++evicted_;
      return true;
    }
    return false;
  }

  /// Takes out all, pinned or not.
  std::vector<Value> take_all() {
    std::vector<Value> values;
    values.reserve(entries_.size());
    for (auto& [key, entry] : entries_) {
      policy_->erase(entry);
      values.push_back(std::move(entry.value));
    }
    entries_.clear();
    bytes_ = 0;
    return values;
  }

  size_t size() const { return entries_.size(); }
  size_t bytes() const { return bytes_; }
  size_t max_bytes() const { return max_bytes_; }
  uint64_t evicted() const { return evicted_; }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [key, entry] : entries_) visit(key, entry);
  }

 private:
  // The hash is the strongest part of a key: compared first, so that a miss costs one comparison.
  struct SameKey {
    bool operator()(const CacheEngineKey& a, const CacheEngineKey& b) const {
      return a.chunk_hash == b.chunk_hash && a == b;
    }
  };

  Value take_out(Entry& entry) {
    Value value = std::move(entry.value);
    bytes_ -= entry.bytes;
    entries_.erase(entries_.find(*entry.key));
    return value;
  }

  const size_t max_bytes_;
  size_t bytes_ = 0;
  uint64_t evicted_ = 0;
  std::unique_ptr<EvictionPolicy> policy_;
  std::unordered_map<CacheEngineKey, Entry, std::hash<CacheEngineKey>, SameKey> entries_;
};

}  // namespace kvferry
