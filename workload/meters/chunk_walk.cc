#include "workload/meters/chunk_walk.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

#include "kvferry/slot_mapping.h"
#include "workload/engine/block_allocator.h"

namespace kvferry {

Result<ChunkWalk> ChunkWalk::create(const PagedKVCache& cache, int64_t fragment_bytes,
                                    uint64_t seed) {
  const int64_t blocks_per_chunk = cache.blocks_for(kDefaultChunkTokens);
  if (cache.num_blocks() < blocks_per_chunk) {
    return make_error(StatusCode::kInvalidArgument,
                      "a paged cache of " + std::to_string(cache.num_blocks()) +
                          " blocks is smaller than one chunk (" + std::to_string(blocks_per_chunk) +
                          " blocks); make it larger");
  }
  ChunkWalk walk;
  KVFERRY_ASSIGN_OR_RETURN(
      walk.layout_, make_chunk_layout(MemoryFormat::kKvL2TD, cache.layout(), kDefaultChunkTokens));
  KVFERRY_ASSIGN_OR_RETURN(walk.fragments_, split_fragments(walk.layout_, fragment_bytes));

  KVFERRY_ASSIGN_OR_RETURN(BlockAllocator allocator,
                           BlockAllocator::create(cache.num_blocks(), seed));
  const int64_t num_chunks = cache.num_blocks() / blocks_per_chunk;
  walk.chunks_.reserve(static_cast<size_t>(num_chunks));
  for (int64_t i = 0; i < num_chunks; ++i) {
    KVFERRY_ASSIGN_OR_RETURN(const std::vector<int64_t> blocks,
                             allocator.allocate(blocks_per_chunk));
    KVFERRY_ASSIGN_OR_RETURN(
        const std::vector<int64_t> slots,
        slots_from_block_table(blocks, cache.model().block_tokens, 0, kDefaultChunkTokens));
    const std::array<SlotMapping, 1> slots_of_groups = {SlotMapping(slots)};
    KVFERRY_ASSIGN_OR_RETURN(PagedCopy copy,
                             PagedCopy::create(cache.layout(), walk.layout_, slots_of_groups));
    walk.chunks_.push_back(std::move(copy));
  }
  return walk;
}

int64_t ChunkWalk::working_set_bytes(size_t num_chunks) const {
  return static_cast<int64_t>(std::min(num_chunks, chunks_.size())) * layout_.size_bytes;
}

bool exceeds_last_level_cache(int64_t bytes) {
  for (const int level : {_SC_LEVEL4_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE, _SC_LEVEL2_CACHE_SIZE}) {
    const long cache_bytes = ::sysconf(level);
    if (cache_bytes > 0) return bytes > cache_bytes;
  }
  return false;
}

}  // namespace kvferry
