#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cuda/host_device.h"
#include "kvferry/checksum.h"
#include "kvferry/chunk_layout.h"

namespace kvferry {

enum class CopyDirection : uint8_t {
  kGather,   ///< pages -> chunk
  kScatter,  ///< chunk -> pages
};

/// One plane of a paged copy as loops see it: the engine's pages and the plane's rows in a chunk.
/// Host and kernels share this arithmetic; every product is 64-bit.
struct PagedCopyPlane {
  std::byte* pages = nullptr;
  int64_t block_stride_bytes = 0;
  int64_t token_stride_bytes = 0;
  int64_t head_stride_bytes = 0;
  int64_t content_bytes = 0;  ///< of one (token, head)
  int64_t chunk_offset_bytes = 0;
  int64_t chunk_token_stride_bytes = 0;
  int32_t block_tokens = 0;
  int32_t num_heads = 0;
  int32_t group = 0;
  int32_t reserved = 0;

  KVFERRY_HD constexpr int64_t row_bytes() const { return num_heads * content_bytes; }
};
static_assert(std::is_trivially_copyable_v<PagedCopyPlane> && sizeof(PagedCopyPlane) == 72);

/// Byte of content 0 of (slot, head), from PagedCopyPlane::pages.
KVFERRY_HD constexpr int64_t page_offset(const PagedCopyPlane& plane, int64_t slot, int64_t head) {
  const int64_t block = slot / plane.block_tokens;
  const int64_t token = slot - block * plane.block_tokens;
  return block * plane.block_stride_bytes + token * plane.token_stride_bytes +
         head * plane.head_stride_bytes;
}

/// Byte of a token's row, from the start of the chunk.
KVFERRY_HD constexpr int64_t chunk_offset(const PagedCopyPlane& plane, int64_t token) {
  return plane.chunk_offset_bytes + token * plane.chunk_token_stride_bytes;
}

KVFERRY_HD constexpr int64_t tiles_of_tokens(int64_t num_tokens) {
  return (num_tokens + kTileTokens - 1) / kTileTokens;
}

/// Tile of a chunk of `num_tokens` tokens that holds (plane, token).
KVFERRY_HD constexpr int64_t tile_number(int64_t plane, int64_t token, int64_t num_tokens) {
  return plane * tiles_of_tokens(num_tokens) + token / kTileTokens;
}

/// Tokens in the plane's tile `tile_in_plane`: kTileTokens, fewer in the last.
KVFERRY_HD constexpr int64_t tile_token_count(int64_t tile_in_plane, int64_t num_tokens) {
  const int64_t left = num_tokens - tile_in_plane * kTileTokens;
  return left < kTileTokens ? left : kTileTokens;
}

/// What a tile of `bytes` is extended to, by zeros, before it is hashed.
KVFERRY_HD constexpr int64_t padded_tile_bytes(int64_t bytes) {
  return (bytes + kTileBlockBytes - 1) / kTileBlockBytes * kTileBlockBytes;
}

namespace detail {
// Past 2^31 blocks-times-bytes, an unaligned last tile, heads outside tokens (HND).
inline constexpr PagedCopyPlane kMapProbe{
    nullptr, int64_t{1} << 32, 128, 2048, 128, 4096, 1024, 16, 8, 0, 0};
static_assert(page_offset(kMapProbe, 16 * 5 + 3, 2) == 5 * (int64_t{1} << 32) + 3 * 128 + 2 * 2048);
static_assert(chunk_offset(kMapProbe, 3) == 4096 + 3 * 1024);
static_assert(tile_number(2, 17, 40) == 7 && tile_token_count(2, 40) == 8);
static_assert(padded_tile_bytes(1) == 1024 && padded_tile_bytes(1024) == 1024);
}  // namespace detail

}  // namespace kvferry
