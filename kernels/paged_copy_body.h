#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kv_page_map.h"
#include "kernels/xxh3_stripes.h"

namespace kvferry {

/// What a paged-copy kernel reads: every pointer is valid on the device that runs it.
struct PagedCopyDevice {
  const PagedCopyPlane* planes = nullptr;  ///< PagedCopy::planes()
  const int64_t* slots = nullptr;          ///< PagedCopy::slots(): [group][token]
  std::byte* chunk = nullptr;              ///< the chunk's bytes from chunk_begin_bytes on
  int64_t chunk_begin_bytes = 0;           ///< staging holds no more than the planes below need
  uint64_t* tile_digests = nullptr;        ///< one per tile of the planes below
  int64_t num_tokens = 0;
  int32_t plane_begin = 0;
  int32_t plane_end = 0;

  KVFERRY_HD constexpr int64_t num_tiles() const {
    return (plane_end - plane_begin) * tiles_of_tokens(num_tokens);
  }
};

/// The class that a launch takes: `alignment` (16, 8, 4, 2, 1), or as much of it as the chunk's
/// address allows.
inline int chunk_alignment(const PagedCopyDevice& copy, int alignment) {
  const auto chunk =
      reinterpret_cast<uintptr_t>(copy.chunk) - static_cast<uintptr_t>(copy.chunk_begin_bytes);
  while (alignment > 1 && chunk % static_cast<uintptr_t>(alignment) != 0) alignment /= 2;
  return alignment;
}

/// Lanes of a warp: the body is written for all of them at once, in phases between shuffles.
inline constexpr int kWarpLanes = 32;

/// 16 bytes of a tile: what one lane moves at a time.
struct Vector16 {
  uint64_t words[2];
};

/// The kernel's body: one warp copies one tile and computes its digest in the same pass.
///
/// A context `Ctx` does every load and store and stands for the warp:
///   Ctx::Lanes<T>                 a T per lane; lanes[lane]
///   for_lanes(f)                  f(lane) for each lane; all are done when it returns
///   shuffle_xor(lanes, mask)      each lane's value from lane ^ mask
///   load_data<kBytes>(p)          Vector16 for 16 bytes, else uint64_t; p aligned to kBytes
///   store_data<kBytes>(p, value)
///   load_plane(p), load_slot(p), store_digest(p, value), tables()
/// Device: kernels/paged_copy.cu. Host, with every access checked: tests/support/host_warp.h,
/// which tests/sim_cuda runs too.
///
/// kBytes (16, 8, 4, 2, 1) divides every address, stride and content: PagedCopy::alignment() and
/// the chunk's own. A lane has four vectors in flight. Tiles are under 2^31 bytes.
template <class Ctx, CopyDirection kDirection, int kBytes>
class PagedCopyBody {
 public:
  KVFERRY_HD_INLINE PagedCopyBody(Ctx& ctx, const PagedCopyDevice& copy) : ctx_(ctx), copy_(copy) {
    ctx_.for_lanes([&](int lane) { keys_[lane] = lane_keys(lane); });
  }

  /// What warp `warp` of `num_warps` does: tiles in turn.
  KVFERRY_HD_INLINE void copy_tiles(int64_t warp, int64_t num_warps) {
    const int64_t num_tiles = copy_.num_tiles();
    for (int64_t tile = warp; tile < num_tiles; tile += num_warps) copy_tile(tile);
  }

 private:
  KVFERRY_HD_INLINE void copy_tile(int64_t tile) {
    const int64_t per_plane = tiles_of_tokens(copy_.num_tokens);
    plane_ = ctx_.load_plane(copy_.planes + copy_.plane_begin + tile / per_plane);
    const int64_t tile_in_plane = tile % per_plane;
    first_token_ = tile_in_plane * kTileTokens;
    row_bytes_ = static_cast<uint32_t>(plane_.row_bytes());
    tile_bytes_ =
        static_cast<uint32_t>(tile_token_count(tile_in_plane, copy_.num_tokens)) * row_bytes_;
    const auto padded = static_cast<uint32_t>(padded_tile_bytes(tile_bytes_));
    ctx_.for_lanes([&](int lane) {
      accumulators_[lane].words[0] = ctx_.tables().init[static_cast<size_t>(lane % 4) * 2];
      accumulators_[lane].words[1] = ctx_.tables().init[static_cast<size_t>(lane % 4) * 2 + 1];
    });
    for (uint32_t offset = 0; offset < padded; offset += kStepBytes) {
      copy_step(offset);
      hash_block<0>(offset + kBlockBytes == padded);
      if (offset + kBlockBytes < padded) hash_block<1>(offset + kStepBytes == padded);
    }
    finish(tile, padded);
  }

  static constexpr int kVectors = 4;  // per lane and step
  static constexpr uint32_t kVectorStride = kWarpLanes * 16;
  static constexpr uint32_t kStepBytes = kVectors * kVectorStride;
  static constexpr uint32_t kBlockBytes = kXxh3BlockBytes;
  static_assert(kStepBytes == 2 * kBlockBytes);

  template <typename T>
  using Lanes = typename Ctx::template Lanes<T>;

  // Keys of a lane's two accumulators: for its stripe in either half of a block, for the tile's
  // last stripe, and for the scramble.
  struct Keys {
    Vector16 half[2];
    Vector16 last;
    Vector16 scramble;
  };
  struct Step {
    Vector16 vectors[kVectors];
  };
  struct Place {
    std::byte* page;  // null: skipped
    std::byte* chunk;
  };

  KVFERRY_HD_INLINE Vector16 key_at(size_t offset) const {
    return {{xxh3_key(ctx_.tables().secret, offset), xxh3_key(ctx_.tables().secret, offset + 8)}};
  }

  // Four lanes share a stripe; lane % 4 says which two accumulators a lane feeds.
  KVFERRY_HD_INLINE Keys lane_keys(int lane) const {
    const size_t pair = static_cast<size_t>(lane % 4) * 16;
    const size_t stripe = static_cast<size_t>(lane / 4);
    return {{key_at(8 * stripe + pair), key_at(8 * (stripe + 8) + pair)},
            key_at(kXxh3LastStripeKey + pair),
            key_at(kXxh3ScrambleKey + pair)};
  }

  KVFERRY_HD_INLINE Place place_of(uint32_t offset) const {
    const uint32_t token = offset / row_bytes_;
    const uint32_t in_row = offset - token * row_bytes_;
    const auto content = static_cast<uint32_t>(plane_.content_bytes);
    const uint32_t head = in_row / content;
    const int64_t chunk_token = first_token_ + token;
    const int64_t slot =
        ctx_.load_slot(copy_.slots + plane_.group * copy_.num_tokens + chunk_token);
    std::byte* page = nullptr;
    if (slot >= 0)
      page = plane_.pages + page_offset(plane_, slot, head) + (in_row - head * content);
    return {page,
            copy_.chunk + (chunk_offset(plane_, chunk_token) - copy_.chunk_begin_bytes) + in_row};
  }

  KVFERRY_HD_INLINE Vector16 load_vector(uint32_t offset) const {
    constexpr bool kGather = kDirection == CopyDirection::kGather;
    Vector16 vector = {};
    KVFERRY_UNROLL
    for (uint32_t i = 0; i < 16; i += kBytes) {
      if (offset + i >= tile_bytes_) break;
      const Place place = place_of(offset + i);
      const std::byte* from = kGather ? place.page : place.chunk;
      if (from == nullptr) continue;
      if constexpr (kBytes == 16) {
        vector = ctx_.template load_data<16>(from);
      } else {
        vector.words[i / 8] |= ctx_.template load_data<kBytes>(from) << (i % 8 * 8);
      }
    }
    return vector;
  }

  KVFERRY_HD_INLINE void store_vector(uint32_t offset, const Vector16& vector) const {
    constexpr bool kGather = kDirection == CopyDirection::kGather;
    KVFERRY_UNROLL
    for (uint32_t i = 0; i < 16; i += kBytes) {
      if (offset + i >= tile_bytes_) break;
      const Place place = place_of(offset + i);
      std::byte* to = kGather ? place.chunk : place.page;
      if (to == nullptr) continue;
      if constexpr (kBytes == 16) {
        ctx_.template store_data<16>(to, vector);
      } else {
        ctx_.template store_data<kBytes>(to, vector.words[i / 8] >> (i % 8 * 8));
      }
    }
  }

  // All loads of a step before its stores, so that they are in flight together.
  KVFERRY_HD_INLINE void copy_step(uint32_t offset) {
    ctx_.for_lanes([&](int lane) {
      const uint32_t first = offset + static_cast<uint32_t>(lane) * 16;
      Step& step = step_[lane];
      KVFERRY_UNROLL
      for (uint32_t v = 0; v < kVectors; ++v) {
        step.vectors[v] = load_vector(first + v * kVectorStride);
      }
      KVFERRY_UNROLL
      for (uint32_t v = 0; v < kVectors; ++v) {
        store_vector(first + v * kVectorStride, step.vectors[v]);
      }
    });
  }

  KVFERRY_HD_INLINE static void accumulate(Vector16* sum, const Vector16& data,
                                           const Vector16& key) {
    sum->words[0] += data.words[1] + xxh3_product(data.words[0], key.words[0]);
    sum->words[1] += data.words[0] + xxh3_product(data.words[1], key.words[1]);
  }

  // Adds the step's block 0 or 1 to the accumulators, and scrambles them unless it is the last.
  template <int kBlock>
  KVFERRY_HD_INLINE void hash_block(bool last) {
    Lanes<uint64_t> even;
    Lanes<uint64_t> odd;
    ctx_.for_lanes([&](int lane) {
      const Keys& keys = keys_[lane];
      const Vector16* data = &step_[lane].vectors[kBlock * 2];
      Vector16 sum = {};
      accumulate(&sum, data[0], keys.half[0]);
      const bool last_stripe = last && lane >= kWarpLanes - 4;
      // Words, not structs: a choice between addresses would put the keys into memory.
      const Vector16 key = {{last_stripe ? keys.last.words[0] : keys.half[1].words[0],
                             last_stripe ? keys.last.words[1] : keys.half[1].words[1]}};
      accumulate(&sum, data[1], key);
      even[lane] = sum.words[0];
      odd[lane] = sum.words[1];
    });
    add_over_lanes(&even, 4, 16);
    add_over_lanes(&odd, 4, 16);
    ctx_.for_lanes([&](int lane) {
      uint64_t* words = accumulators_[lane].words;
      words[0] += even[lane];
      words[1] += odd[lane];
      if (last) return;
      words[0] = xxh3_scramble(words[0], keys_[lane].scramble.words[0]);
      words[1] = xxh3_scramble(words[1], keys_[lane].scramble.words[1]);
    });
  }

  // Each lane's value becomes the sum over the lanes that differ in bits [first, last].
  KVFERRY_HD_INLINE void add_over_lanes(Lanes<uint64_t>* values, int first, int last) {
    for (int mask = first; mask <= last; mask *= 2) {
      const Lanes<uint64_t> others = ctx_.shuffle_xor(*values, mask);
      ctx_.for_lanes([&](int lane) { (*values)[lane] += others[lane]; });
    }
  }

  KVFERRY_HD_INLINE void finish(int64_t tile, uint32_t padded) {
    if (copy_.tile_digests == nullptr) return;
    Lanes<uint64_t> merged;
    ctx_.for_lanes([&](int lane) {
      merged[lane] = xxh3_merge_pair(ctx_.tables().secret, static_cast<size_t>(lane % 4),
                                     accumulators_[lane].words[0], accumulators_[lane].words[1]);
    });
    add_over_lanes(&merged, 1, 2);
    ctx_.for_lanes([&](int lane) {
      if (lane == 0)
        ctx_.store_digest(copy_.tile_digests + tile, xxh3_finish(merged[lane], padded));
    });
  }

  Ctx& ctx_;
  const PagedCopyDevice& copy_;
  PagedCopyPlane plane_;
  int64_t first_token_ = 0;
  uint32_t row_bytes_ = 0;
  uint32_t tile_bytes_ = 0;
  Lanes<Keys> keys_;
  Lanes<Vector16> accumulators_;
  Lanes<Step> step_;
};

}  // namespace kvferry
