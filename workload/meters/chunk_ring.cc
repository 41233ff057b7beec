#include "workload/meters/chunk_ring.h"

namespace kvferry {

Result<ChunkRing> ChunkRing::create(const ChunkWalk& walk, size_t num_chunks) {
  if (num_chunks == 0) {
    return make_error(StatusCode::kInvalidArgument, "a ring has at least one chunk; 0 asked for");
  }
  KVFERRY_ASSIGN_OR_RETURN(HostBuffer memory, HostBuffer::create(walk.chunk_bytes() * num_chunks));
  return ChunkRing(walk, std::move(memory), num_chunks);
}

}  // namespace kvferry
