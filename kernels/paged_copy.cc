#include "kernels/paged_copy.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace kvferry {
namespace {

Status mismatch(size_t plane, const char* what, int64_t in_pages, int64_t in_chunk) {
  return Status(StatusCode::kInvalidArgument,
                "plane " + std::to_string(plane) + ": " + what + " is " + std::to_string(in_pages) +
                    " in the pages and " + std::to_string(in_chunk) +
                    " in the chunk; make the chunk layout from this KV layout");
}

Status check_plane(size_t index, const KVPlane& source, int64_t group, const ChunkPlane& target) {
  if (target.group != group) return mismatch(index, "group", group, target.group);
  if (target.layer != source.layer) return mismatch(index, "layer", source.layer, target.layer);
  if (target.role != source.role) {
    return mismatch(index, "role", static_cast<int64_t>(source.role),
                    static_cast<int64_t>(target.role));
  }
  if (target.row_bytes != source.row_bytes()) {
    return mismatch(index, "row_bytes", source.row_bytes(), target.row_bytes);
  }
  return Status();
}

// The plane's rows lie inside the chunk and do not overlap one another.
Status check_extent(size_t index, const ChunkPlane& plane, const ChunkLayout& chunk) {
  int64_t end = 0;
  const bool fits = plane.offset_bytes >= 0 && plane.token_stride_bytes >= plane.row_bytes &&
                    !__builtin_mul_overflow(chunk.num_tokens - 1, plane.token_stride_bytes, &end) &&
                    !__builtin_add_overflow(end, plane.offset_bytes, &end) &&
                    !__builtin_add_overflow(end, plane.row_bytes, &end) && end <= chunk.size_bytes;
  if (fits) return Status();
  return Status(StatusCode::kInvalidArgument,
                "plane " + std::to_string(index) + ": rows of " + std::to_string(plane.row_bytes) +
                    " bytes at offset " + std::to_string(plane.offset_bytes) + ", stride " +
                    std::to_string(plane.token_stride_bytes) + " do not fit a chunk of " +
                    std::to_string(chunk.size_bytes) + " bytes");
}

Status check_sizes(const KVLayout& pages, const ChunkLayout& chunk,
                   std::span<const SlotMapping> slots_per_group) {
  const auto invalid = [](std::string message) {
    return Status(StatusCode::kInvalidArgument, std::move(message));
  };
  KVFERRY_RETURN_IF_ERROR(validate(pages));
  if (chunk.num_tokens < 1 || chunk.num_tokens > std::numeric_limits<int32_t>::max()) {
    return invalid("chunk.num_tokens is " + std::to_string(chunk.num_tokens) +
                   "; a chunk holds 1 to 2^31 - 1 tokens");
  }
  if (chunk.dtype != pages.dtype || !(chunk.heads == pages.heads)) {
    return invalid("dtype or head range of the chunk is not that of the pages");
  }
  if (std::cmp_not_equal(chunk.planes.size(), pages.num_planes())) {
    return invalid("the chunk has " + std::to_string(chunk.planes.size()) + " planes, the pages " +
                   std::to_string(pages.num_planes()));
  }
  if (slots_per_group.size() != pages.groups.size()) {
    return invalid("slots for " + std::to_string(slots_per_group.size()) + " groups given, " +
                   std::to_string(pages.groups.size()) + " needed");
  }
  for (size_t group = 0; group < slots_per_group.size(); ++group) {
    if (std::cmp_not_equal(slots_per_group[group].size(), chunk.num_tokens)) {
      return invalid("group " + std::to_string(group) + " has " +
                     std::to_string(slots_per_group[group].size()) + " slots for " +
                     std::to_string(chunk.num_tokens) + " tokens");
    }
  }
  return Status();
}

PagedCopyPlane make_plane(const KVPlane& source, int32_t block_tokens, const ChunkPlane& target) {
  return {.pages = source.base,
          .block_stride_bytes = source.block_stride_bytes,
          .token_stride_bytes = source.token_stride_bytes,
          .head_stride_bytes = source.head_stride_bytes,
          .content_bytes = source.content_bytes,
          .chunk_offset_bytes = target.offset_bytes,
          .chunk_token_stride_bytes = target.token_stride_bytes,
          .block_tokens = block_tokens,
          .num_heads = source.num_heads,
          .group = target.group};
}

int32_t alignment_of(std::span<const PagedCopyPlane> planes) {
  uint64_t bits = 16;
  for (const PagedCopyPlane& plane : planes) {
    bits |= reinterpret_cast<uintptr_t>(plane.pages);
    for (int64_t bytes :
         {plane.block_stride_bytes, plane.token_stride_bytes, plane.head_stride_bytes,
          plane.content_bytes, plane.chunk_offset_bytes, plane.chunk_token_stride_bytes}) {
      bits |= static_cast<uint64_t>(bytes);
    }
  }
  return static_cast<int32_t>(bits & (~bits + 1));  // the lowest bit that is set
}

}  // namespace

Result<PagedCopy> PagedCopy::create(const KVLayout& pages, const ChunkLayout& chunk,
                                    std::span<const SlotMapping> slots_per_group) {
  KVFERRY_RETURN_IF_ERROR(check_sizes(pages, chunk, slots_per_group));
  PagedCopy copy;
  copy.num_tokens_ = chunk.num_tokens;
  copy.chunk_bytes_ = static_cast<size_t>(chunk.size_bytes);
  copy.planes_.reserve(chunk.planes.size());
  for (size_t group = 0; group < pages.groups.size(); ++group) {
    const KVGroup& source = pages.groups[group];
    for (const KVPlane& plane : source.planes) {
      const size_t index = copy.planes_.size();
      const ChunkPlane& target = chunk.planes[index];
      KVFERRY_RETURN_IF_ERROR(check_plane(index, plane, static_cast<int64_t>(group), target));
      KVFERRY_RETURN_IF_ERROR(check_extent(index, target, chunk));
      copy.planes_.push_back(make_plane(plane, source.block_tokens, target));
    }
    auto runs = merge_slot_runs(slots_per_group[group], source.num_slots());
    if (!runs) {
      return tl::unexpected(runs.error().with_context("group " + std::to_string(group)));
    }
    copy.add_group(source.block_tokens, slots_per_group[group], *runs);
  }
  copy.alignment_ = alignment_of(copy.planes_);
  copy.device_ = pages.device;
  return copy;
}

Status PagedCopy::check_call(Device device, int32_t plane_begin, int32_t plane_end,
                             size_t chunk_bytes, size_t num_digests) const {
  if (!(device_ == device)) {
    return Status(StatusCode::kInvalidArgument, "the pages lie on " + device_name(device_) +
                                                    ", the copy was asked of " +
                                                    device_name(device));
  }
  if (plane_begin < 0 || plane_end < plane_begin || plane_end > num_planes()) {
    return Status(StatusCode::kInvalidArgument,
                  "planes [" + std::to_string(plane_begin) + ", " + std::to_string(plane_end) +
                      ") asked for; the copy has " + std::to_string(num_planes()));
  }
  if (chunk_bytes != chunk_bytes_) {
    return Status(StatusCode::kInvalidArgument, "chunk span of " + std::to_string(chunk_bytes) +
                                                    " bytes given, the chunk has " +
                                                    std::to_string(chunk_bytes_));
  }
  const int64_t tiles = (plane_end - plane_begin) * tiles_per_plane();
  if (num_digests != 0 && std::cmp_not_equal(num_digests, tiles)) {
    return Status(StatusCode::kInvalidArgument, std::to_string(num_digests) +
                                                    " digests given for " + std::to_string(tiles) +
                                                    " tiles; give one each, or none");
  }
  return Status();
}

void PagedCopy::add_group(int32_t block_tokens, SlotMapping slots, std::span<const SlotRun> runs) {
  GroupSegments group;
  const auto append = [&group, block_tokens](int64_t token, int64_t slot, int64_t end) {
    while (token < end) {  // cut at tiles
      if (token % kTileTokens == 0) group.tile_begin.push_back(group.segments.size());
      const int64_t tile_end = (token / kTileTokens + 1) * kTileTokens;
      const int64_t count = std::min(end, tile_end) - token;
      const int64_t block = slot / block_tokens;
      group.segments.push_back({static_cast<int32_t>(token), static_cast<int32_t>(count), slot,
                                block, slot - block * block_tokens});
      token += count;
      if (slot >= 0) slot += count;
    }
  };
  int64_t token = 0;
  for (const SlotRun& run : runs) {
    append(token, -1, run.token);
    append(run.token, run.slot, run.token + run.count);
    token = run.token + run.count;
  }
  append(token, -1, num_tokens_);
  group.tile_begin.push_back(group.segments.size());
  groups_.push_back(std::move(group));
  slots_.insert(slots_.end(), slots.begin(), slots.end());
}

std::span<const TileSegment> PagedCopy::segments(int32_t group, int64_t tile_in_plane) const {
  const GroupSegments& source = groups_[static_cast<size_t>(group)];
  const size_t tile = static_cast<size_t>(tile_in_plane);
  return std::span(source.segments)
      .subspan(source.tile_begin[tile], source.tile_begin[tile + 1] - source.tile_begin[tile]);
}

}  // namespace kvferry
