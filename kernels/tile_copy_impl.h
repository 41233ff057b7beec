// The copy loop over a vector policy. Included once by each kernels/tile_copy_<level>.cc, which
// defines KVFERRY_SIMD, the target attribute of that file's functions, and the policy.
//
// A policy `V` handles one 64-byte XXH3 stripe at a time:
//   V::Stripe                              its registers
//   load(p), store(p, s), stream(p, s)     stream wants p 64-byte aligned
//   zero(), from_words(w), to_words(s, w)
//   accumulate(&acc, data, key)            data into the accumulators
//   scramble(&acc, key)                    end of a block
//   fence()
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/tile_copy.h"
#include "kernels/xxh3_stripes.h"

#ifndef KVFERRY_SIMD
#error "define KVFERRY_SIMD before including this file"
#endif
#define KVFERRY_SIMD_INLINE __attribute__((always_inline)) KVFERRY_SIMD inline

namespace kvferry {
namespace {

// The key of each stripe of a block on its own cache line, and the same for a tile's last block.
struct alignas(kXxh3StripeBytes) StripeKeys {
  std::array<std::array<uint64_t, 8>, kXxh3BlockStripes> inner;
  std::array<std::array<uint64_t, 8>, kXxh3BlockStripes> last;
  std::array<uint64_t, 8> scramble;
};

constexpr std::array<uint64_t, 8> make_key(size_t offset) {
  std::array<uint64_t, 8> key = {};
  for (size_t i = 0; i < key.size(); ++i) {
    key[i] = xxh3_key(kXxh3SecretWords.data(), offset + 8 * i);
  }
  return key;
}

constexpr StripeKeys make_stripe_keys() {
  StripeKeys keys = {};
  for (size_t i = 0; i < kXxh3BlockStripes; ++i) keys.inner[i] = keys.last[i] = make_key(8 * i);
  keys.last.back() = make_key(kXxh3LastStripeKey);
  keys.scramble = make_key(kXxh3ScrambleKey);
  return keys;
}

constexpr StripeKeys kStripeKeys = make_stripe_keys();

enum class Direction { kGather, kScatter };

// Walks the source addresses of pieces kPrefetchBytes ahead of the copy.
template <Direction kDirection>
class Prefetcher {
 public:
  explicit Prefetcher(std::span<const TilePiece> ahead)
      : piece_(ahead.data()), end_(ahead.data() + ahead.size()) {
    skip(kPrefetchBytes);
  }

  // Prefetches the next `bytes`.
  KVFERRY_SIMD_INLINE void advance(size_t bytes) {
    while (bytes > 0 && piece_ != end_) {
      const size_t step = std::min(bytes, piece_->bytes - offset_);
      if (const std::byte* from = source()) {
        for (size_t i = 0; i < step; i += kXxh3StripeBytes) {
          __builtin_prefetch(from + offset_ + i, 0, 3);
        }
      }
      move(step);
      bytes -= step;
    }
  }

 private:
  const std::byte* source() const {
    return kDirection == Direction::kGather ? piece_->page : piece_->chunk;
  }
  void move(size_t bytes) {
    offset_ += bytes;
    if (offset_ == piece_->bytes) {
      ++piece_;
      offset_ = 0;
    }
  }
  void skip(size_t bytes) {
    while (bytes > 0 && piece_ != end_) {
      const size_t step = std::min(bytes, piece_->bytes - offset_);
      move(step);
      bytes -= step;
    }
  }

  const TilePiece* piece_;
  const TilePiece* end_;
  size_t offset_ = 0;
};

// Copies one tile, piece by piece, and hashes what passes through the registers.
template <class V, Direction kDirection, bool kStreaming, bool kDigest>
class TileLoop {
 public:
  KVFERRY_SIMD_INLINE explicit TileLoop(const TileJob& job)
      : job_(job), prefetcher_(job.ahead), accumulator_(V::from_words(kXxh3Init.data())) {
    size_t bytes = 0;
    for (const TilePiece& piece : job.pieces) bytes += piece.bytes;
    blocks_ = (bytes + kXxh3BlockBytes - 1) / kXxh3BlockBytes;
    blocks_left_ = blocks_;
  }

  KVFERRY_SIMD_INLINE uint64_t run() {
    for (const TilePiece& piece : job_.pieces) {
      constexpr bool kGather = kDirection == Direction::kGather;
      if (piece.page != nullptr) {
        copy_piece<true, true>(kGather ? piece.page : piece.chunk,
                               kGather ? piece.chunk : piece.page, piece.bytes);
      } else {
        copy_piece<!kGather, kGather>(piece.chunk, piece.chunk, piece.bytes);
      }
    }
    return kDigest ? finish() : 0;
  }

 private:
  // kLoad: data comes from `from`, else it is zeros. kStore: it goes to `to`, else nowhere.
  template <bool kLoad, bool kStore>
  KVFERRY_SIMD_INLINE void copy_piece(const std::byte* from, std::byte* to, size_t bytes) {
    if (carried_ > 0) {
      const size_t head = std::min(bytes, kXxh3StripeBytes - carried_);
      carry<kLoad, kStore>(from, to, head);
      from += head;
      to += head;
      bytes -= head;
    }
    const size_t stripes = bytes / kXxh3StripeBytes;
    const bool aligned = reinterpret_cast<uintptr_t>(to) % kXxh3StripeBytes == 0;
    if (kStreaming && kStore && aligned) {
      copy_stripes<kLoad, kStore, true>(from, to, stripes);
    } else {
      copy_stripes<kLoad, kStore, false>(from, to, stripes);
    }
    const size_t done = stripes * kXxh3StripeBytes;
    if (done < bytes) carry<kLoad, kStore>(from + done, to + done, bytes - done);
  }

  template <bool kLoad, bool kStore, bool kStream>
  KVFERRY_SIMD_INLINE void copy_stripes(const std::byte* from, std::byte* to, size_t stripes) {
    while (stripes > 0) {
      const auto& keys = blocks_left_ > 1 ? kStripeKeys.inner : kStripeKeys.last;
      const size_t count = std::min(stripes, kXxh3BlockStripes - stripe_);
      prefetcher_.advance(count * kXxh3StripeBytes);
      if (count == kXxh3BlockStripes) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kXxh3BlockStripes; ++i) {
          copy_stripe<kLoad, kStore, kStream>(from, to, i, keys[i].data());
        }
      } else {
        for (size_t i = 0; i < count; ++i) {
          copy_stripe<kLoad, kStore, kStream>(from, to, i, keys[stripe_ + i].data());
        }
      }
      end_stripes(count);
      from += count * kXxh3StripeBytes;
      to += count * kXxh3StripeBytes;
      stripes -= count;
    }
  }

  template <bool kLoad, bool kStore, bool kStream>
  KVFERRY_SIMD_INLINE void copy_stripe(const std::byte* from, std::byte* to, size_t index,
                                       const uint64_t* key) {
    const size_t offset = index * kXxh3StripeBytes;
    const typename V::Stripe data = kLoad ? V::load(from + offset) : V::zero();
    if constexpr (kStore && kStream) V::stream(to + offset, data);
    if constexpr (kStore && !kStream) V::store(to + offset, data);
    if constexpr (kDigest) V::accumulate(&accumulator_, data, key);
  }

  KVFERRY_SIMD_INLINE void end_stripes(size_t count) {
    stripe_ += count;
    if (stripe_ < kXxh3BlockStripes) return;
    stripe_ = 0;
    --blocks_left_;
    if (kDigest && blocks_left_ > 0) V::scramble(&accumulator_, kStripeKeys.scramble.data());
  }

  // Bytes that do not fill a stripe wait for those of the next piece.
  template <bool kLoad, bool kStore>
  KVFERRY_SIMD_INLINE void carry(const std::byte* from, std::byte* to, size_t bytes) {
    std::byte* slot = carry_.data() + carried_;
    if constexpr (kLoad) std::memcpy(slot, from, bytes);
    if constexpr (!kLoad) std::memset(slot, 0, bytes);
    if constexpr (kStore) std::memcpy(to, slot, bytes);
    carried_ += bytes;
    prefetcher_.advance(bytes);
    if (carried_ == kXxh3StripeBytes) absorb_carry();
  }

  KVFERRY_SIMD_INLINE void absorb_carry() {
    const auto& keys = blocks_left_ > 1 ? kStripeKeys.inner : kStripeKeys.last;
    if (kDigest) V::accumulate(&accumulator_, V::load(carry_.data()), keys[stripe_].data());
    carried_ = 0;
    end_stripes(1);
  }

  KVFERRY_SIMD_INLINE uint64_t finish() {
    if (carried_ > 0) {
      std::memset(carry_.data() + carried_, 0, kXxh3StripeBytes - carried_);
      absorb_carry();
    }
    while (blocks_left_ > 0) {  // zeros up to a whole block
      V::accumulate(&accumulator_, V::zero(), kStripeKeys.last[stripe_].data());
      end_stripes(1);
    }
    uint64_t words[8];
    V::to_words(accumulator_, words);
    uint64_t merged = 0;
    for (size_t pair = 0; pair < 4; ++pair) {
      merged += xxh3_merge_pair(kXxh3SecretWords.data(), pair, words[2 * pair], words[2 * pair + 1]);
    }
    return xxh3_finish(merged, blocks_ * kXxh3BlockBytes);
  }

  const TileJob& job_;
  Prefetcher<kDirection> prefetcher_;
  typename V::Stripe accumulator_;
  size_t blocks_ = 0;
  size_t blocks_left_ = 0;
  size_t stripe_ = 0;  // in the block
  size_t carried_ = 0;
  alignas(kXxh3StripeBytes) std::array<std::byte, kXxh3StripeBytes> carry_;
};

template <class V, Direction kDirection>
KVFERRY_SIMD uint64_t copy_tile(const TileJob& job) {
  if (job.digest) {
    return job.streaming ? TileLoop<V, kDirection, true, true>(job).run()
                         : TileLoop<V, kDirection, false, true>(job).run();
  }
  return job.streaming ? TileLoop<V, kDirection, true, false>(job).run()
                       : TileLoop<V, kDirection, false, false>(job).run();
}

template <class V>
constexpr TileCopier make_tile_copier() {
  return {copy_tile<V, Direction::kGather>, copy_tile<V, Direction::kScatter>, V::fence};
}

}  // namespace
}  // namespace kvferry
