#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cuda/host/cpu_features.h"
#include "kernels/tile_pieces.h"

namespace kvferry {

/// How far, in bytes, loads are prefetched before they are needed.
inline constexpr size_t kPrefetchBytes = 4096;

/// One tile to copy. `ahead` starts with `pieces` and goes on with what follows.
struct TileJob {
  std::span<const TilePiece> pieces;
  std::span<const TilePiece> ahead;
  bool streaming = true;
  bool digest = true;
};

/// The copy loops of one instruction set. Both directions return the tile's digest (0 when it was
/// not asked for).
struct TileCopier {
  uint64_t (*gather)(const TileJob&);   ///< pages -> chunk; skipped pieces become zeros
  uint64_t (*scatter)(const TileJob&);  ///< chunk -> pages; skipped pieces are read only
  void (*fence)();                      ///< orders streaming stores before what follows
};

/// Errors: none; levels that the processor lacks must not be called.
const TileCopier& tile_copier(SimdLevel level);

namespace detail {
extern const TileCopier kPortableTileCopier;
#if defined(__x86_64__)
extern const TileCopier kAvx2TileCopier;
extern const TileCopier kAvx512TileCopier;
#endif
}  // namespace detail

}  // namespace kvferry
