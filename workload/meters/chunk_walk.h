#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kernels/paged_copy.h"
#include "kvferry/chunk_layout.h"
#include "kvferry/status.h"
#include "workload/engine/paged_kv_cache.h"

namespace kvferry {

/// A whole paged cache cut into chunks (KV_L2TD) of fragmented blocks: what measurements copy when
/// there are no requests yet. Each block is in at most one chunk; blocks that fill no chunk are
/// left over.
///
/// It does not ask which blocks are allocated: for a cache whose content is scratch.
///
/// Threads: immutable
/// Owner:   borrows the cache's pages
class ChunkWalk {
 public:
  /// `seed`: of the order of blocks, as in BlockAllocator.
  ///
  /// Errors: kInvalidArgument if the cache is smaller than one chunk, or fragment_bytes < 1.
  static Result<ChunkWalk> create(const PagedKVCache& cache, int64_t fragment_bytes, uint64_t seed);

  const ChunkLayout& layout() const { return layout_; }
  size_t chunk_bytes() const { return static_cast<size_t>(layout_.size_bytes); }
  /// Of every chunk alike.
  std::span<const Fragment> fragments() const { return fragments_; }

  size_t num_chunks() const { return chunks_.size(); }
  /// The walk starts again after the last chunk: any number will do.
  const PagedCopy& chunk(size_t index) const { return chunks_[index % chunks_.size()]; }

  /// Bytes of pages that `num_chunks` chunks of the walk touch.
  int64_t working_set_bytes(size_t num_chunks) const;

 private:
  ChunkWalk() = default;

  ChunkLayout layout_;
  std::vector<Fragment> fragments_;
  std::vector<PagedCopy> chunks_;
};

/// True if `bytes` are more than this machine's last-level cache holds. False where the system does
/// not say how large that is.
bool exceeds_last_level_cache(int64_t bytes);

}  // namespace kvferry
