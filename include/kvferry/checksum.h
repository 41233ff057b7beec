#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kvferry/chunk_layout.h"
#include "kvferry/status.h"

namespace kvferry {

// The checksum of a chunk. The definition, its reasons and test vectors are in
// docs/formats/checksum.md. Finds faults (flipped bits, swapped, stale or foreign pages), not
// attackers.

/// A tile's bytes are zero-extended to a multiple of this before they are hashed.
inline constexpr int64_t kTileBlockBytes = 1024;

/// Digest of one tile: XXH3-64 (seed 0) of its logical bytes [token][head][content], zero-extended
/// to a multiple of kTileBlockBytes.
KVFERRY_EXPORT uint64_t tile_digest(std::span<const std::byte> tile);

/// What tile number `tile` adds to the sum of a chunk. Sums are modulo 2^64 and order-free.
KVFERRY_EXPORT uint64_t tile_term(int64_t tile, uint64_t digest);

/// Sum of tile_term over tiles [first_tile, first_tile + digests.size()).
KVFERRY_EXPORT uint64_t tile_sum(int64_t first_tile, std::span<const uint64_t> digests);

/// What a digest is bound to, so that another chunk's valid bytes do not pass.
struct ChunkIdentity {
  std::array<uint8_t, 16> key_hash = {};  ///< CacheEngineKey::digest()
  int64_t token_begin = 0;
  int64_t token_end = 0;
  uint64_t layout_digest = 0;

  friend bool operator==(const ChunkIdentity&, const ChunkIdentity&) = default;
};

/// Digest of a range of a chunk's tiles, bound to the chunk. Over all tiles it is the chunk's
/// digest, over a fragment's tiles the fragment's.
KVFERRY_EXPORT uint64_t bind_digest(const ChunkIdentity& identity, int64_t first_tile,
                                    int64_t num_tiles, uint64_t sum, int64_t payload_bytes);

/// Tile digests of planes [plane_begin, plane_end) of a chunk in memory, in tile order.
/// `digests` holds (plane_end - plane_begin) * layout.tiles_per_plane() entries.
///
/// Errors: kInvalidArgument if a size does not fit the layout; nothing is written then.
KVFERRY_EXPORT Status compute_tile_digests(const ChunkLayout& layout,
                                           std::span<const std::byte> chunk, int32_t plane_begin,
                                           int32_t plane_end, std::span<uint64_t> digests);

}  // namespace kvferry
