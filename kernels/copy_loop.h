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

/// Whole stripes of one tile that are contiguous on both sides.
struct CopyItem {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;  ///< ignored by CopyLoop::hash
  uint32_t num_stripes = 0;
  uint32_t stripe = 0;      ///< the first; counted from the first of the BlockSums
  uint32_t last_block = 0;  ///< of the tile; counted likewise
};

/// The loops of one instruction set over independent items. Four neighbouring items advance in
/// lockstep while what follows is prefetched: that is what keeps enough loads in flight.
struct CopyLoop {
  using Run = void (*)(std::span<const CopyItem> items, BlockSum* sums);

  Run copy[2][2];  ///< [streaming][digest]; streaming stores need `to` 64-byte aligned
  Run hash;        ///< reads only
  /// Digest of a tile from the sums of its blocks, in order.
  uint64_t (*fold)(std::span<const BlockSum> blocks);
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
