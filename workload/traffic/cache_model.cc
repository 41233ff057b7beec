#include "workload/traffic/cache_model.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "core/eviction_policy.h"

namespace kvferry {
namespace {

constexpr uint64_t kNever = UINT64_MAX;

/// For each access, in order, when its chunk is asked for next.
std::vector<uint64_t> next_uses(const ChunkAccesses& accesses) {
  std::vector<uint32_t> all;
  all.reserve(accesses.num_asked());
  for (const auto& request : accesses.requests) {
    all.insert(all.end(), request.begin(), request.end());
  }
  std::vector<uint64_t> seen(accesses.num_chunks, kNever);
  std::vector<uint64_t> next(all.size());
  for (size_t i = all.size(); i-- > 0;) next[i] = std::exchange(seen[all[i]], i);
  return next;
}

}  // namespace

uint64_t ChunkAccesses::num_asked() const {
  uint64_t asked = 0;
  for (const auto& request : requests) asked += request.size();
  return asked;
}

CacheModelResult model_cache(const ChunkAccesses& accesses, CachePolicy policy,
                             size_t capacity_chunks) {
  CacheModelResult result;
  const std::unique_ptr<EvictionPolicy> queues = make_eviction_policy(policy, capacity_chunks);
  std::vector<EvictionHook> hooks(accesses.num_chunks);
  std::vector<bool> held(accesses.num_chunks, false);
  size_t size = 0;
  for (uint32_t chunk = 0; chunk < accesses.num_chunks; ++chunk) hooks[chunk].ghost_key = chunk;
  for (const std::vector<uint32_t>& request : accesses.requests) {
    bool is_prefix = true;
    for (const uint32_t chunk : request) {
      ++result.asked;
      is_prefix = is_prefix && held[chunk];
      if (is_prefix) ++result.hits;
      if (held[chunk]) {
        queues->touch(hooks[chunk]);
        continue;
      }
      if (capacity_chunks == 0) continue;
      if (size == capacity_chunks) {
        EvictionHook* victim = queues->victim();
        queues->evict(*victim);
        held[static_cast<size_t>(victim - hooks.data())] = false;
        ++result.evictions;
        --size;
      }
      queues->insert(hooks[chunk]);
      held[chunk] = true;
      ++size;
    }
  }
  return result;
}

CacheModelResult model_optimum(const ChunkAccesses& accesses, size_t capacity_chunks) {
  CacheModelResult result;
  const std::vector<uint64_t> next = next_uses(accesses);
  std::vector<uint64_t> held_until(accesses.num_chunks, kNever);  // kNever: not held
  std::set<std::pair<uint64_t, uint32_t>> by_next_use;
  uint64_t now = 0;
  for (const std::vector<uint32_t>& request : accesses.requests) {
    for (const uint32_t chunk : request) {
      ++result.asked;
      const uint64_t next_use = next[now++];
      if (held_until[chunk] != kNever) {
        ++result.hits;
        by_next_use.erase({held_until[chunk], chunk});
        held_until[chunk] = kNever;
      }
      if (next_use == kNever || capacity_chunks == 0) continue;
      if (by_next_use.size() == capacity_chunks) {
        const auto last = std::prev(by_next_use.end());
        if (last->first <= next_use) continue;
        held_until[last->second] = kNever;
        by_next_use.erase(last);
        ++result.evictions;
      }
      by_next_use.emplace(next_use, chunk);
      held_until[chunk] = next_use;
    }
  }
  return result;
}

}  // namespace kvferry
