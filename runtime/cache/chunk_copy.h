#pragma once

#include <span>

#include "kernels/paged_copy.h"
#include "kvferry/memory_obj.h"
#include "runtime/cache/token_chunks.h"

namespace kvferry {

/// Copies `chunk` out of its pages into `obj`, and makes `obj` that chunk: layout, tokens, digests.
/// `slots` are the chunk's own, one a token; none negative.
///
/// Errors: kOutOfRange for a slot past the pages; kInvalidArgument; `obj` is of no use then.
Status gather_chunk(const TokenChunks& space, const ChunkRef& chunk, std::span<const int64_t> slots,
                    MemoryObj& obj);

/// A chunk on its way into its pages, all layers at once or one after another.
class ChunkScatter {
 public:
  /// Errors: kOutOfRange for a slot past the pages; kDataLoss if the object's digests are not those
  ///   of this chunk. Nothing is written yet.
  static Result<ChunkScatter> create(const TokenChunks& space, const ChunkRef& chunk,
                                     std::span<const int64_t> slots, MemoryObjPtr obj);

  int32_t num_planes() const { return copy_.num_planes(); }
  /// Errors: kDataLoss naming the first wrong tile: the pages are undefined then.
  Status scatter_planes(int32_t plane_begin, int32_t plane_end);
  /// Every plane, after which the object counts as verified. Errors: as above.
  Status scatter_all();

  const MemoryObjPtr& obj() const { return obj_; }

 private:
  ChunkScatter(CacheEngineKey key, PagedCopy copy, MemoryObjPtr obj)
      : key_(std::move(key)), copy_(std::move(copy)), obj_(std::move(obj)) {}

  CacheEngineKey key_;
  PagedCopy copy_;
  MemoryObjPtr obj_;
};

}  // namespace kvferry
