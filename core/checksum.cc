#include "kvferry/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <string>

#include "core/checked_math.h"
#include "core/layout_fields.h"
#include "core/wire.h"
#include "core/xxh3.h"

namespace kvferry {
namespace {

constexpr uint64_t kGoldenRatio = 0x9E3779B97F4A7C15;

constexpr std::byte kZeros[kTileBlockBytes] = {};

uint64_t mix64(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9;
  x ^= x >> 27;
  x *= 0x94d049bb133111eb;
  x ^= x >> 31;
  return x;
}

/// Zeros that extend `size_bytes` to whole blocks, of which a tile has at least one.
size_t padding_bytes(size_t size_bytes) {
  constexpr auto kBlock = static_cast<size_t>(kTileBlockBytes);
  return size_bytes == 0 ? kBlock : (kBlock - size_bytes % kBlock) % kBlock;
}

/// Digests `rows` rows of `row_bytes` that start `stride` bytes apart.
uint64_t strided_tile_digest(XXH3_state_t& state, const std::byte* first, size_t rows,
                             size_t row_bytes, size_t stride) {
  XXH3_64bits_reset(&state);
  for (size_t row = 0; row < rows; ++row)
    XXH3_64bits_update(&state, first + row * stride, row_bytes);
  XXH3_64bits_update(&state, kZeros, padding_bytes(rows * row_bytes));
  return XXH3_64bits_digest(&state);
}

uint64_t contiguous_tile_digest(XXH3_state_t& state, std::span<const std::byte> tile) {
  if (padding_bytes(tile.size()) == 0) return XXH3_64bits(tile.data(), tile.size());
  return strided_tile_digest(state, tile.data(), 1, tile.size(), tile.size());
}

Status refuse(const std::string& what) {
  return Status(StatusCode::kInvalidArgument, "tile digests: " + what);
}

/// Checks one plane of a layout that may be hand-made against the chunk's real size.
Status check_plane(const ChunkLayout& layout, size_t index) {
  const ChunkPlane& plane = layout.planes[index];
  detail::CheckedMath math;
  const int64_t last = math.mul(plane.token_stride_bytes, layout.num_tokens - 1);
  const int64_t end = math.add(math.add(plane.offset_bytes, last), plane.row_bytes);
  const bool inside = math.is_ok() && plane.row_bytes > 0 &&
                      plane.token_stride_bytes >= plane.row_bytes && end <= layout.size_bytes;
  return inside ? Status()
                : refuse("plane " + std::to_string(index) + " does not fit a chunk of " +
                         std::to_string(layout.size_bytes) + " bytes");
}

Status check_sizes(const ChunkLayout& layout, size_t chunk_bytes, int32_t plane_begin,
                   int32_t plane_end, size_t num_digests) {
  if (layout.num_tokens < 1 || layout.num_tokens > detail::kMaxExtent) {
    return refuse("the layout has " + std::to_string(layout.num_tokens) + " tokens");
  }
  const auto num_planes = layout.planes.size();
  const bool in_order =
      plane_begin >= 0 && plane_begin <= plane_end && static_cast<size_t>(plane_end) <= num_planes;
  if (!in_order) {
    return refuse("planes [" + std::to_string(plane_begin) + ", " + std::to_string(plane_end) +
                  ") are no range of " + std::to_string(num_planes) + " planes");
  }
  if (layout.size_bytes < 0 || chunk_bytes != static_cast<size_t>(layout.size_bytes)) {
    return refuse("got " + std::to_string(chunk_bytes) + " bytes for a chunk of " +
                  std::to_string(layout.size_bytes));
  }
  for (int32_t plane = plane_begin; plane < plane_end; ++plane) {
    KVFERRY_RETURN_IF_ERROR(check_plane(layout, static_cast<size_t>(plane)));
  }
  detail::CheckedMath math;
  const int64_t tiles = math.mul(plane_end - plane_begin, layout.tiles_per_plane());
  if (math.is_ok() && num_digests == static_cast<size_t>(tiles)) return Status();
  return refuse("got room for " + std::to_string(num_digests) + " digests of " +
                std::to_string(tiles) + " tiles");
}

void plane_tile_digests(const ChunkLayout& layout, const ChunkPlane& plane, const std::byte* chunk,
                        std::span<uint64_t> digests) {
  const auto row_bytes = static_cast<size_t>(plane.row_bytes);
  const auto stride = static_cast<size_t>(plane.token_stride_bytes);
  const std::byte* tile = chunk + plane.offset_bytes;
  auto rows_left = static_cast<size_t>(layout.num_tokens);
  XXH3_state_t state;
  for (uint64_t& digest : digests) {
    const size_t rows = std::min(rows_left, static_cast<size_t>(kTileTokens));
    digest = stride == row_bytes ? contiguous_tile_digest(state, {tile, rows * row_bytes})
                                 : strided_tile_digest(state, tile, rows, row_bytes, stride);
    rows_left -= rows;
    if (rows_left > 0) tile += rows * stride;
  }
}

}  // namespace

uint64_t tile_digest(std::span<const std::byte> tile) {
  XXH3_state_t state;
  return contiguous_tile_digest(state, tile);
}

uint64_t tile_term(int64_t tile, uint64_t digest) {
  return mix64(digest ^ ((static_cast<uint64_t>(tile) + 1) * kGoldenRatio));
}

uint64_t tile_sum(int64_t first_tile, std::span<const uint64_t> digests) {
  uint64_t sum = 0;
  auto tile = static_cast<uint64_t>(first_tile);
  for (uint64_t digest : digests) sum += tile_term(static_cast<int64_t>(tile++), digest);
  return sum;
}

uint64_t bind_digest(const ChunkIdentity& identity, int64_t first_tile, int64_t num_tiles,
                     uint64_t sum, int64_t payload_bytes) {
  WireWriter record;
  record.raw("KVFD");
  record.u32(1);
  record.u64(sum);
  record.u64(static_cast<uint64_t>(first_tile));
  record.u64(static_cast<uint64_t>(num_tiles));
  record.u64(static_cast<uint64_t>(payload_bytes));
  record.bytes(std::as_bytes(std::span(identity.key_hash)));
  record.u64(static_cast<uint64_t>(identity.token_begin));
  record.u64(static_cast<uint64_t>(identity.token_end));
  record.u64(identity.layout_digest);
  return detail::xxh3_64(record.view());
}

uint64_t layout_digest(const ChunkLayout& layout) {
  WireWriter record;
  record.raw("KVFL");
  record.u32(1);
  detail::write_layout_head(record, layout);
  detail::write_layout_planes(record, layout);
  return detail::xxh3_64(record.view());
}

Status compute_tile_digests(const ChunkLayout& layout, std::span<const std::byte> chunk,
                            int32_t plane_begin, int32_t plane_end, std::span<uint64_t> digests) {
  KVFERRY_RETURN_IF_ERROR(
      check_sizes(layout, chunk.size(), plane_begin, plane_end, digests.size()));
  const auto tiles = static_cast<size_t>(layout.tiles_per_plane());
  for (int32_t i = plane_begin; i < plane_end; ++i) {
    plane_tile_digests(layout, layout.planes[static_cast<size_t>(i)], chunk.data(),
                       digests.subspan(static_cast<size_t>(i - plane_begin) * tiles, tiles));
  }
  return Status();
}

}  // namespace kvferry
