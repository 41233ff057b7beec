#include "workload/engine/prefix_index.h"

#include <string>
#include <utility>

namespace kvferry {
namespace {

Status not_held(const CacheEngineKey& key) {
  return {StatusCode::kNotFound, "prefix index does not hold chunk " + key.to_string()};
}

}  // namespace

size_t PrefixIndex::longest_prefix(std::span<const CacheEngineKey> keys) const {
  size_t held = 0;
  while (held < keys.size() && entries_.contains(keys[held])) ++held;
  return held;
}

const std::vector<int64_t>* PrefixIndex::find(const CacheEngineKey& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second.blocks;
}

Status PrefixIndex::insert(const CacheEngineKey& key, std::vector<int64_t> blocks) {
  if (entries_.contains(key)) {
    return {StatusCode::kAlreadyExists, "prefix index already holds chunk " + key.to_string()};
  }
  const auto num_blocks = static_cast<int64_t>(blocks.size());
  if (num_blocks > max_blocks_ - held_blocks_) {
    return {StatusCode::kResourceExhausted, "chunk of " + std::to_string(num_blocks) +
                                                " blocks does not fit: prefix index holds " +
                                                std::to_string(held_blocks_) + " of " +
                                                std::to_string(max_blocks_) + "; evict first"};
  }
  const auto [entry, added] =
      entries_.emplace(key, Entry{.blocks = std::move(blocks), .last_use = ++uses_});
  evictable_.emplace(entry->second.last_use, &entry->first);
  held_blocks_ += num_blocks;
  return {};
}

bool PrefixIndex::touch(const CacheEngineKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return false;
  Entry& entry = found->second;
  auto node = evictable_.extract(entry.last_use);
  entry.last_use = ++uses_;
  if (!node.empty()) {
    node.key() = entry.last_use;
    evictable_.insert(std::move(node));
  }
  return true;
}

void PrefixIndex::touch_prefix(std::span<const CacheEngineKey> keys) {
  for (size_t i = keys.size(); i > 0; --i) touch(keys[i - 1]);
}

Status PrefixIndex::pin(const CacheEngineKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return not_held(key);
  if (found->second.pins++ == 0) evictable_.erase(found->second.last_use);
  return {};
}

Status PrefixIndex::unpin(const CacheEngineKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return not_held(key);
  Entry& entry = found->second;
  if (entry.pins == 0) {
    return {StatusCode::kFailedPrecondition, "chunk " + key.to_string() + " is not pinned"};
  }
  if (--entry.pins == 0) evictable_.emplace(entry.last_use, &found->first);
  return {};
}

std::optional<PrefixIndex::Evicted> PrefixIndex::evict_one() {
  if (evictable_.empty()) return std::nullopt;
  const auto entry = entries_.find(*evictable_.begin()->second);
  Evicted evicted{.key = entry->first, .blocks = {}};
  evicted.blocks = remove(entry);
  ++evictions_;
  return evicted;
}

Result<std::vector<int64_t>> PrefixIndex::erase(const CacheEngineKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return make_error(not_held(key));
  if (found->second.pins > 0) {
    return make_error(StatusCode::kFailedPrecondition,
                      "chunk " + key.to_string() + " is pinned; it cannot be erased");
  }
  return remove(found);
}

std::vector<int64_t> PrefixIndex::remove(Entries::iterator entry) {
  std::vector<int64_t> blocks = std::move(entry->second.blocks);
  held_blocks_ -= static_cast<int64_t>(blocks.size());
  evictable_.erase(entry->second.last_use);
  entries_.erase(entry);
  return blocks;
}

}  // namespace kvferry
