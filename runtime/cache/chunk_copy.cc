#include "runtime/cache/chunk_copy.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "kvferry/chunk_record.h"

namespace kvferry {

// ---- out of the pages

Result<ChunkGather> ChunkGather::create(const TokenChunks& space, const ChunkRef& chunk,
                                        std::span<const int64_t> slots, MemoryObjPtr obj) {
  if (std::any_of(slots.begin(), slots.end(), [](int64_t slot) { return slot < 0; })) {
    return make_error(StatusCode::kInvalidArgument,
                      "chunk " + chunk.key.to_string() +
                          " lacks tokens at its source (a negative slot); store what is complete");
  }
  const std::array<SlotMapping, 1> groups = {slots};
  ChunkLayout layout = space.layout(chunk.num_tokens());
  KVFERRY_ASSIGN_OR_RETURN(PagedCopy copy, PagedCopy::create(space.pages(), layout, groups));
  obj->resize(copy.chunk_bytes());
  return ChunkGather(chunk, std::move(layout), std::move(copy), std::move(obj));
}

int32_t ChunkGather::planes_up_to(int32_t layer) const {
  const auto& planes = layout_.planes;
  return static_cast<int32_t>(
      std::find_if(planes.begin(), planes.end(),
                   [layer](const ChunkPlane& plane) { return plane.layer > layer; }) -
      planes.begin());
}

Status ChunkGather::gather_planes(int32_t plane_begin, int32_t plane_end) {
  const auto tiles = static_cast<size_t>(copy_.tiles_per_plane());
  const auto digests =
      std::span(digests_).subspan(static_cast<size_t>(plane_begin) * tiles,
                                  static_cast<size_t>(plane_end - plane_begin) * tiles);
  return gather(copy_, plane_begin, plane_end, obj_->bytes(), digests);
}

void ChunkGather::finish() {
  obj_->layout = std::move(layout_);
  obj_->token_begin = chunk_.token_begin;
  obj_->token_end = chunk_.token_end;
  obj_->tile_digests = std::move(digests_);
  obj_->chunk_digest = bound_chunk_digest(make_chunk_record(chunk_.key, *obj_));
  obj_->set_verified(true);
}

// ---- into them

Result<ChunkScatter> ChunkScatter::create(const TokenChunks& space, const ChunkRef& chunk,
                                          std::span<const int64_t> slots, MemoryObjPtr obj) {
  // The tiles are compared when they are scattered; here, that they are this chunk's tiles.
  if (obj->tile_digests.size() != static_cast<size_t>(obj->layout.num_tiles()) ||
      bound_chunk_digest(make_chunk_record(chunk.key, *obj)) != obj->chunk_digest) {
    return make_error(StatusCode::kDataLoss,
                      "chunk " + chunk.key.to_string() + ": its digests are of another chunk");
  }
  const std::array<SlotMapping, 1> groups = {slots};
  KVFERRY_ASSIGN_OR_RETURN(PagedCopy copy, PagedCopy::create(space.pages(), obj->layout, groups));
  return ChunkScatter(chunk.key, std::move(copy), std::move(obj));
}

Status ChunkScatter::scatter_planes(int32_t plane_begin, int32_t plane_end) {
  const auto tiles = static_cast<size_t>(copy_.tiles_per_plane());
  const size_t first = static_cast<size_t>(plane_begin) * tiles;
  std::vector<uint64_t> found(static_cast<size_t>(plane_end - plane_begin) * tiles);
  KVFERRY_RETURN_IF_ERROR(scatter(copy_, plane_begin, plane_end, obj_->bytes(), found));
  const auto [wrong, expected] = std::mismatch(
      found.begin(), found.end(), obj_->tile_digests.begin() + static_cast<std::ptrdiff_t>(first));
  if (wrong == found.end()) return {};
  return Status(StatusCode::kDataLoss,
                "chunk " + key_.to_string() + ": tile " +
                    std::to_string(first + static_cast<size_t>(wrong - found.begin())) +
                    " has other bytes than its digest says");
}

Status ChunkScatter::scatter_all() {
  KVFERRY_RETURN_IF_ERROR(scatter_planes(0, num_planes()));
  obj_->set_verified(true);
  return {};
}

}  // namespace kvferry
