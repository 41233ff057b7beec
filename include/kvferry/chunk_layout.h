#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kvferry/dtype.h"
#include "kvferry/kv_layout.h"
#include "kvferry/status.h"

namespace kvferry {

/// Tokens of a chunk: the unit of keys, storage and visibility.
inline constexpr int64_t kDefaultChunkTokens = 256;
/// Tokens of a tile: the unit of the digest (docs/formats/checksum.md).
inline constexpr int64_t kTileTokens = 16;
/// Most planes of one chunk.
inline constexpr size_t kMaxChunkPlanes = 4096;

/// Order of a chunk in memory, by LMCache's names where it has one. L layers, T tokens, D the bytes
/// of all heads of one token. The numbers are those of the chunk record format.
enum class MemoryFormat : uint8_t {
  kKv2LTD = 1,   ///< KV_2LTD: [2, L, T, D]
  kKvT2D = 2,    ///< KV_T2D: [T, 2, D], one layer
  kKv2TD = 3,    ///< KV_2TD: [2, T, D], one layer
  kKvMla = 6,    ///< KV_MLA_FMT: [1, L, T, D]
  kKvL2TD = 16,  ///< KV_L2TD: [L, 2, T, D]; layers are contiguous, so fragments are
};

/// One layer's K, V or latent inside a chunk: num_tokens rows of row_bytes.
struct ChunkPlane {
  int32_t group = 0;  ///< index into KVLayout::groups
  int32_t layer = 0;
  KVRole role = KVRole::kKey;
  int64_t row_bytes = 0;  ///< all heads of one token: [head][content]
  int64_t offset_bytes = 0;
  int64_t token_stride_bytes = 0;

  friend bool operator==(const ChunkPlane&, const ChunkPlane&) = default;
};

/// How the bytes of one chunk lie in memory.
///
/// Planes stand in canonical order: group, layer, role. That order numbers the tiles: tile
/// t = plane * tiles_per_plane() + token / kTileTokens.
struct ChunkLayout {
  DType dtype = DType::kBF16;
  MemoryFormat format = MemoryFormat::kKvL2TD;
  HeadRange heads;
  int64_t num_tokens = 0;
  std::vector<ChunkPlane> planes;
  int64_t size_bytes = 0;

  int64_t tiles_per_plane() const { return (num_tokens + kTileTokens - 1) / kTileTokens; }
  int64_t num_tiles() const { return static_cast<int64_t>(planes.size()) * tiles_per_plane(); }

  friend bool operator==(const ChunkLayout&, const ChunkLayout&) = default;
};

KVFERRY_EXPORT std::string_view memory_format_name(MemoryFormat format);

/// The layout of a chunk of `num_tokens` tokens gathered from `source`.
///
/// Reads no base and no stride of `source`, so that a layout without memory will do.
///
/// Errors: those of place_planes().
KVFERRY_EXPORT Result<ChunkLayout> make_chunk_layout(MemoryFormat format, const KVLayout& source,
                                                     int64_t num_tokens);

/// Fills offset_bytes, token_stride_bytes and size_bytes of a layout whose other fields are set.
///
/// Errors: kInvalidArgument if num_tokens < 1; heads or dtype are none; there are no planes or
///   more than kMaxChunkPlanes; they stand out of order; the size passes 2^62; or the format does
///   not fit the planes: KV_T2D and KV_2TD take one layer, KV_MLA_FMT takes latents only, KV_2LTD,
///   KV_T2D and KV_2TD take K and V of each layer, all four want equal row_bytes. KV_L2TD takes
///   any planes.
KVFERRY_EXPORT Result<ChunkLayout> place_planes(ChunkLayout layout);

/// Digest of what makes two chunks' bytes comparable: dtype, format, heads, tile size and planes
/// (not num_tokens, and nothing of engine pages). docs/formats/checksum.md defines it.
KVFERRY_EXPORT uint64_t layout_digest(const ChunkLayout& layout);

/// Whole planes [plane_begin, plane_end) that are one contiguous range of the chunk: the unit of
/// gather, wire, verify and scatter.
struct Fragment {
  int32_t plane_begin = 0;
  int32_t plane_end = 0;
  int64_t offset_bytes = 0;
  int64_t size_bytes = 0;

  friend bool operator==(const Fragment&, const Fragment&) = default;
};

/// Splits a chunk into fragments of whole layers, each of at most `target_bytes` or of one layer.
///
/// Errors: kInvalidArgument if the format does not keep a layer contiguous (KV_2LTD of several
///   layers), planes lie outside size_bytes, or target_bytes < 1.
KVFERRY_EXPORT Result<std::vector<Fragment>> split_fragments(const ChunkLayout& layout,
                                                             int64_t target_bytes);

}  // namespace kvferry
