#pragma once

#include <span>
#include <utility>
#include <vector>

#include "kernels/paged_copy.h"
#include "kvferry/memory_obj.h"
#include "runtime/cache/token_chunks.h"

namespace kvferry {

/// A chunk on its way out of its pages, all layers at once or one after another.
class ChunkGather {
 public:
  /// `slots` are the chunk's own, one a token; none negative. `obj` has room for the chunk.
  /// Errors: kOutOfRange for a slot past the pages; kInvalidArgument. Nothing is read yet.
  static Result<ChunkGather> create(const TokenChunks& space, const ChunkRef& chunk,
                                    std::span<const int64_t> slots, MemoryObjPtr obj);

  int32_t num_planes() const { return copy_.num_planes(); }
  /// How many planes, from the first on, are of layers up to and with `layer`.
  int32_t planes_up_to(int32_t layer) const;
  Status gather_planes(int32_t plane_begin, int32_t plane_end);
  /// Every plane has been gathered: the object becomes this chunk, with layout, tokens, digests.
  void finish();

  const MemoryObjPtr& obj() const { return obj_; }

 private:
  ChunkGather(ChunkRef chunk, ChunkLayout layout, PagedCopy copy, MemoryObjPtr obj)
      : chunk_(std::move(chunk)),
        layout_(std::move(layout)),
        copy_(std::move(copy)),
        obj_(std::move(obj)),
        digests_(static_cast<size_t>(layout_.num_tiles())) {}

  ChunkRef chunk_;
  ChunkLayout layout_;
  PagedCopy copy_;
  MemoryObjPtr obj_;
  std::vector<uint64_t> digests_;
};

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
