#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "cuda/host/cpu_features.h"
#include "kernels/xxh3_stripes.h"

namespace kvferry {

/// What the stripes of one XXH3 block add to the accumulators. Additions commute, so the parts of a
/// block may be copied in any order.
struct alignas(kXxh3StripeBytes) BlockSum {
  std::array<uint64_t, 8> words = {};
};

/// Equal parts of one tile, each of whole stripes that are contiguous on both sides and lie in one
/// XXH3 block.
struct CopyItem {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;  ///< ignored by CopyLoop::hash
  int64_t from_step = 0;    ///< bytes from part to part
  int64_t to_step = 0;
  uint32_t stripe = 0;  ///< the first; counted from the first of the BlockSums
  uint32_t stripe_step = 0;
  uint32_t last_block = 0;  ///< of the tile; counted likewise
  uint16_t num_parts = 1;
  uint16_t num_stripes = 0;  ///< of a part, 1 to kXxh3BlockStripes
};

/// The loops of one instruction set over independent items. Four neighbouring items advance in
/// lockstep while what follows is prefetched: that is what keeps enough loads in flight.
struct CopyLoop {
  /// `upcoming` is prefetched as `items` come to their end; it may be empty.
  using Run = void (*)(std::span<const CopyItem> items, std::span<const CopyItem> upcoming,
                       BlockSum* sums);

  Run copy[2][2];  ///< [streaming][digest]; streaming stores need `to` 64-byte aligned
  Run hash;        ///< reads only
  /// Digests of tiles from the sums of their blocks. Tile i has blocks [tile_blocks[i],
  /// tile_blocks[i + 1]), so there is one more entry than there are digests.
  void (*fold)(const BlockSum* sums, const size_t* tile_blocks, std::span<uint64_t> digests);
  /// Orders streaming stores before whatever the caller does next.
  void (*fence)();
};

/// `level` must be one that the processor has.
const CopyLoop& copy_loop(SimdLevel level);

namespace detail {
extern const CopyLoop kPortableCopyLoop;
#if defined(__x86_64__)
extern const CopyLoop kAvx2CopyLoop;
extern const CopyLoop kAvx512CopyLoop;
#endif
}  // namespace detail

}  // namespace kvferry
