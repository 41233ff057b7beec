#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "cuda/host/host_memory.h"
#include "kvferry/status.h"
#include "workload/meters/chunk_walk.h"

namespace kvferry {

/// Chunk-sized buffers used in turn, as a source stages chunks and a destination lands them.
/// Pieces are the fragments of chunk after chunk, at their offsets; numbers go on for ever.
///
/// Threads: immutable; the bytes are the callers' to share out
/// Owner:   the memory; borrows the walk
class ChunkRing {
 public:
  /// Errors: kInvalidArgument if num_chunks is 0; kResourceExhausted.
  static Result<ChunkRing> create(const ChunkWalk& walk, size_t num_chunks);

  const ChunkWalk& walk() const { return *walk_; }
  int64_t num_pieces() const { return static_cast<int64_t>(num_chunks_) * pieces_per_chunk(); }
  int64_t pieces_per_chunk() const { return static_cast<int64_t>(walk_->fragments().size()); }

  size_t chunk_of(int64_t piece) const { return static_cast<size_t>(piece / pieces_per_chunk()); }
  const Fragment& fragment_of(int64_t piece) const {
    return walk_->fragments()[static_cast<size_t>(piece % pieces_per_chunk())];
  }

  std::span<std::byte> chunk(size_t number) const {
    return memory_.bytes().subspan(number % num_chunks_ * walk_->chunk_bytes(),
                                   walk_->chunk_bytes());
  }
  std::span<std::byte> piece(int64_t number) const {
    const Fragment& fragment = fragment_of(number);
    return chunk(chunk_of(number))
        .subspan(static_cast<size_t>(fragment.offset_bytes),
                 static_cast<size_t>(fragment.size_bytes));
  }

 private:
  ChunkRing(const ChunkWalk& walk, HostBuffer memory, size_t num_chunks)
      : walk_(&walk), memory_(std::move(memory)), num_chunks_(num_chunks) {}

  const ChunkWalk* walk_;
  HostBuffer memory_;
  size_t num_chunks_;
};

}  // namespace kvferry
