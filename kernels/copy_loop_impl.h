// The copy loop over a vector policy. Included once by each kernels/copy_loop_<level>.cc, which
// defines KVFERRY_SIMD, the target attribute of that file's functions, and the policy.
//
// A policy `V` handles one 64-byte XXH3 stripe at a time:
//   V::Stripe                          its registers
//   load(p), store(p, s), stream(p, s) any alignment; stream wants p 64-byte aligned
//   zero()
//   accumulate(&acc, data, key)        adds data to the accumulators
//   add(&acc, sum)                     adds accumulators
//   scramble(&acc, key)                ends a block
//   fence()
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/copy_loop.h"
#include "kernels/xxh3_stripes.h"

#ifndef KVFERRY_SIMD
#error "define KVFERRY_SIMD before including this file"
#endif
#define KVFERRY_SIMD_INLINE __attribute__((always_inline)) KVFERRY_SIMD inline

namespace kvferry {
namespace {

using Key = std::array<uint64_t, 8>;

// The key of each stripe of a block on its own cache line, and the same for a tile's last block.
struct alignas(kXxh3StripeBytes) StripeKeys {
  std::array<std::array<Key, kXxh3BlockStripes>, 2> stripes;  // [last block]
  Key scramble;
};

constexpr Key make_key(size_t offset) {
  Key key = {};
  for (size_t i = 0; i < key.size(); ++i) {
    key[i] = xxh3_key(kXxh3SecretWords.data(), offset + 8 * i);
  }
  return key;
}

constexpr StripeKeys make_stripe_keys() {
  StripeKeys keys = {};
  for (size_t i = 0; i < kXxh3BlockStripes; ++i) {
    keys.stripes[0][i] = keys.stripes[1][i] = make_key(8 * i);
  }
  keys.stripes[1].back() = make_key(kXxh3LastStripeKey);
  keys.scramble = make_key(kXxh3ScrambleKey);
  return keys;
}

constexpr StripeKeys kStripeKeys = make_stripe_keys();

enum class Sink { kNone, kCached, kStreaming };

constexpr size_t kLanes = 4;            // items in lockstep
constexpr uint32_t kAheadStripes = 64;  // prefetched, over all lanes

// One place that a loop walks: a part of an item, and what comes kAheadStripes later.
struct Lane {
  const std::byte* from;
  std::byte* to;
  const std::byte* ahead;
  const Key* keys;
};

KVFERRY_SIMD_INLINE const Key* keys_at(const CopyItem& item, uint32_t stripe) {
  const bool last = stripe / kXxh3BlockStripes == item.last_block;
  return &kStripeKeys.stripes[last ? 1 : 0][stripe % kXxh3BlockStripes];
}

// Copies `count` stripes of each of kCount lanes, side by side, all within one block each, and adds
// them to the sums of those blocks.
template <class V, Sink kSink, bool kDigest, size_t kCount>
KVFERRY_SIMD_INLINE void run_lanes(const std::array<Lane, kCount>& lanes, size_t count,
                                   const std::array<BlockSum*, kCount>& sums) {
  typename V::Stripe added[kCount];
  for (size_t j = 0; j < kCount; ++j) added[j] = V::zero();
  for (size_t i = 0; i < count; ++i) {
    const size_t offset = i * kXxh3StripeBytes;
#pragma GCC unroll 8
    for (size_t j = 0; j < kCount; ++j) {
      __builtin_prefetch(lanes[j].ahead + offset, 0, 2);
      const typename V::Stripe data = V::load(lanes[j].from + offset);
      if constexpr (kSink == Sink::kStreaming) V::stream(lanes[j].to + offset, data);
      if constexpr (kSink == Sink::kCached) V::store(lanes[j].to + offset, data);
      if constexpr (kDigest) V::accumulate(&added[j], data, lanes[j].keys[i].data());
    }
  }
  if constexpr (kDigest) {
    for (size_t j = 0; j < kCount; ++j) {
      V::add(&added[j], V::load(sums[j]->words.data()));
      V::store(sums[j]->words.data(), added[j]);
    }
  }
}

// kLanes items of `blocks` whole blocks each; `next` is the group that follows.
template <class V, Sink kSink, bool kDigest>
KVFERRY_SIMD_INLINE void run_whole_blocks(const CopyItem* items, const CopyItem* next,
                                          uint32_t blocks, BlockSum* sums) {
  for (uint32_t block = 0; block < blocks; ++block) {
    const size_t offset = block * kXxh3BlockBytes;
    std::array<Lane, kLanes> lanes;
    std::array<BlockSum*, kLanes> targets;
    for (size_t j = 0; j < kLanes; ++j) {
      const std::byte* ahead =
          block + 1 < blocks ? items[j].from + offset + kXxh3BlockBytes : next[j].from;
      const uint32_t stripe = items[j].stripe + block * kXxh3BlockStripes;
      lanes[j] = {items[j].from + offset, items[j].to + offset, ahead, keys_at(items[j], stripe)};
      targets[j] = &sums[stripe / kXxh3BlockStripes];
    }
    run_lanes<V, kSink, kDigest, kLanes>(lanes, kXxh3BlockStripes, targets);
  }
}

// kCount items from stripe `begin` on, in lockstep until the first of them ends or leaves its
// block. Returns how far they came.
template <class V, Sink kSink, bool kDigest, size_t kCount>
KVFERRY_SIMD_INLINE uint32_t run_some(const CopyItem* items, const CopyItem* next, uint32_t begin,
                                      BlockSum* sums) {
  std::array<Lane, kCount> lanes;
  std::array<BlockSum*, kCount> targets;
  uint32_t count = kXxh3BlockStripes;
  const size_t offset = begin * kXxh3StripeBytes;
  for (size_t j = 0; j < kCount; ++j) {
    const uint32_t stripe = items[j].stripe + begin;
    const auto in_block = static_cast<uint32_t>(kXxh3BlockStripes - stripe % kXxh3BlockStripes);
    count = std::min({count, in_block, items[j].num_stripes - begin});
    lanes[j] = {items[j].from + offset, items[j].to + offset, next[j].from + offset,
                keys_at(items[j], stripe)};
    targets[j] = &sums[stripe / kXxh3BlockStripes];
  }
  run_lanes<V, kSink, kDigest, kCount>(lanes, count, targets);
  return begin + count;
}

// What a group of kLanes items has in common.
struct Group {
  uint32_t shortest = UINT32_MAX;
  uint32_t total = 0;
  bool whole_blocks = false;

  explicit Group(const CopyItem* items) {
    uint32_t longest = 0;
    uint32_t odd = 0;
    for (size_t j = 0; j < kLanes; ++j) {
      shortest = std::min(shortest, items[j].num_stripes);
      longest = std::max(longest, items[j].num_stripes);
      total += items[j].num_stripes;
      odd |= (items[j].stripe | items[j].num_stripes) % kXxh3BlockStripes;
    }
    whole_blocks = odd == 0 && shortest == longest;
  }
};

template <class V, Sink kSink, bool kDigest>
KVFERRY_SIMD void run_items(std::span<const CopyItem> items, BlockSum* sums) {
  size_t i = 0;
  for (; i + kLanes <= items.size(); i += kLanes) {
    const CopyItem* group = &items[i];
    const Group common(group);
    const size_t step = kLanes * std::max<size_t>(1, kAheadStripes / common.total);
    const CopyItem* next = &items[std::min(i + step, items.size() - kLanes)];
    if (common.whole_blocks) {
      run_whole_blocks<V, kSink, kDigest>(
          group, next, common.shortest / static_cast<uint32_t>(kXxh3BlockStripes), sums);
      continue;
    }
    uint32_t done = 0;
    while (done < common.shortest) {
      done = run_some<V, kSink, kDigest, kLanes>(group, next, done, sums);
    }
    for (size_t j = 0; j < kLanes; ++j) {
      for (uint32_t at = done; at < group[j].num_stripes;) {
        at = run_some<V, kSink, kDigest, 1>(group + j, next + j, at, sums);
      }
    }
  }
  for (; i < items.size(); ++i) {
    for (uint32_t at = 0; at < items[i].num_stripes;) {
      at = run_some<V, kSink, kDigest, 1>(&items[i], &items[i], at, sums);
    }
  }
}

template <class V>
KVFERRY_SIMD uint64_t fold_blocks(std::span<const BlockSum> blocks) {
  typename V::Stripe accumulators = V::load(kXxh3Init.data());
  for (size_t i = 0; i < blocks.size(); ++i) {
    V::add(&accumulators, V::load(blocks[i].words.data()));
    if (i + 1 < blocks.size()) V::scramble(&accumulators, kStripeKeys.scramble.data());
  }
  BlockSum result;
  V::store(result.words.data(), accumulators);
  uint64_t merged = 0;
  for (size_t pair = 0; pair < 4; ++pair) {
    merged += xxh3_merge_pair(kXxh3SecretWords.data(), pair, result.words[2 * pair],
                              result.words[2 * pair + 1]);
  }
  return xxh3_finish(merged, blocks.size() * kXxh3BlockBytes);
}

template <class V>
constexpr CopyLoop make_copy_loop() {
  return {.copy = {{run_items<V, Sink::kCached, false>, run_items<V, Sink::kCached, true>},
                   {run_items<V, Sink::kStreaming, false>, run_items<V, Sink::kStreaming, true>}},
          .hash = run_items<V, Sink::kNone, true>,
          .fold = fold_blocks<V>,
          .fence = V::fence};
}

}  // namespace
}  // namespace kvferry
