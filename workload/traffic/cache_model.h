#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kvferry/cache_policy.h"

namespace kvferry {

/// The chunks that requests ask for, by number, in order: what hit rates depend on.
struct ChunkAccesses {
  std::vector<std::vector<uint32_t>> requests;  ///< of each, its chunks from the first on
  uint32_t num_chunks = 0;                      ///< that differ

  uint64_t num_asked() const;
};

struct CacheModelResult {
  uint64_t asked = 0;
  uint64_t hits = 0;
  uint64_t evictions = 0;

  double hit_rate() const {
    return asked == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(asked);
  }
};

/// What a cache of so many chunks with that policy would serve: of each request the longest prefix
/// that it holds; then all chunks of the request are in it.
CacheModelResult model_cache(const ChunkAccesses& accesses, CachePolicy policy,
                             size_t capacity_chunks);

/// What no cache of that size can pass: it knows the future, keeps or refuses each chunk by when it
/// is asked for next, and need not serve prefixes only.
///
/// Source: Belady, "A study of replacement algorithms for a virtual-storage computer", 1966.
CacheModelResult model_optimum(const ChunkAccesses& accesses, size_t capacity_chunks);

}  // namespace kvferry
