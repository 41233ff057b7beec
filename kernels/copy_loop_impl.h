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
    key[i] = xxh3_key(kXxh3Tables.secret, offset + 8 * i);
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
constexpr uint32_t kAheadStripes = 64;  // between a prefetch into L2 and the load, over all lanes
constexpr size_t kTouchItems = 8;  // between the first touch of an item (page walk) and its start

// One place that a loop walks: part of an item, and what comes kAheadStripes later.
struct Lane {
  const std::byte* from;
  std::byte* to;
  const std::byte* ahead;
  const Key* keys;
  BlockSum* sum;

  Lane() = default;
  Lane(const CopyItem& item, int64_t part, const std::byte* ahead_of_it, BlockSum* sums)
      : from(item.from + part * item.from_step),
        to(item.to + part * item.to_step),
        ahead(ahead_of_it) {
    const auto stripe = static_cast<uint32_t>(item.stripe + part * item.stripe_step);
    const uint32_t block = stripe / kXxh3BlockStripes;
    keys = &kStripeKeys.stripes[block == item.last_block ? 1 : 0][stripe % kXxh3BlockStripes];
    sum = &sums[block];
  }
};

// Copies stripes [begin, end) of each lane, side by side, and adds them to the lanes' sums.
// kSameKeys: all lanes have the first one's keys, which leaves registers for their addresses.
template <class V, Sink kSink, bool kDigest, size_t kCount, bool kSameKeys = false>
KVFERRY_SIMD_INLINE void run_lanes(const std::array<Lane, kCount>& lanes, size_t begin,
                                   size_t end) {
  typename V::Stripe added[kCount];
  for (size_t j = 0; j < kCount; ++j) added[j] = V::zero();
  for (size_t i = begin; i < end; ++i) {
    const size_t offset = i * kXxh3StripeBytes;
#pragma GCC unroll 8
    for (size_t j = 0; j < kCount; ++j) {
      __builtin_prefetch(lanes[j].ahead + offset, 0, 2);  // to L2
      const typename V::Stripe data = V::load(lanes[j].from + offset);
      if constexpr (kSink == Sink::kStreaming) V::stream(lanes[j].to + offset, data);
      if constexpr (kSink == Sink::kCached) V::store(lanes[j].to + offset, data);
      if constexpr (kDigest)
        V::accumulate(&added[j], data, lanes[kSameKeys ? 0 : j].keys[i].data());
    }
  }
  if constexpr (kDigest) {
    for (size_t j = 0; j < kCount; ++j) {  // one after the other: lanes may share a sum
      V::add(&added[j], V::load(lanes[j].sum->words.data()));
      V::store(lanes[j].sum->words.data(), added[j]);
    }
  }
}

// Four items of equal shape. `next` is the group that follows, `touched` the one whose pages are
// looked up meanwhile.
template <class V, Sink kSink, bool kDigest>
KVFERRY_SIMD_INLINE void run_group(const CopyItem* items, const CopyItem* next,
                                   const CopyItem* touched, BlockSum* sums) {
  const int64_t parts = items->num_parts;
  const size_t stripes = items->num_stripes;
  const auto parts_ahead =
      static_cast<int64_t>(std::max<size_t>(1, kAheadStripes / kLanes / stripes));
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t ahead = part + parts_ahead;
    std::array<Lane, kLanes> lanes;
    for (size_t j = 0; j < kLanes; ++j) {
      const std::byte* address = ahead < parts ? items[j].from + ahead * items[j].from_step
                                               : next[j].from + (ahead - parts) * next[j].from_step;
      lanes[j] = Lane(items[j], part, address, sums);
    }
    __builtin_prefetch(touched[static_cast<size_t>(part) % kLanes].from, 0, 2);
    bool same_keys = true;
    for (const Lane& lane : lanes) same_keys = same_keys && lane.keys == lanes[0].keys;
    if (same_keys) {
      run_lanes<V, kSink, kDigest, kLanes, true>(lanes, 0, stripes);
    } else {
      run_lanes<V, kSink, kDigest, kLanes>(lanes, 0, stripes);
    }
  }
}

// One item alone, from stripe `begin` of its parts on; `next` comes some time later.
template <class V, Sink kSink, bool kDigest>
KVFERRY_SIMD_INLINE void run_single(const CopyItem& item, const CopyItem& next, size_t begin,
                                    BlockSum* sums) {
  for (int64_t part = 0; part < item.num_parts; ++part) {
    const std::byte* ahead = next.from + part * next.from_step;
    run_lanes<V, kSink, kDigest, 1>({Lane(item, part, ahead, sums)}, begin, item.num_stripes);
  }
}

// Four items of one part each: in lockstep as far as the shortest goes.
template <class V, Sink kSink, bool kDigest>
KVFERRY_SIMD_INLINE void run_uneven(const CopyItem* items, const CopyItem* next, BlockSum* sums) {
  size_t shortest = kXxh3BlockStripes;
  std::array<Lane, kLanes> lanes;
  for (size_t j = 0; j < kLanes; ++j) {
    shortest = std::min<size_t>(shortest, items[j].num_stripes);
    lanes[j] = Lane(items[j], 0, next[j].from, sums);
  }
  run_lanes<V, kSink, kDigest, kLanes>(lanes, 0, shortest);
  for (size_t j = 0; j < kLanes; ++j) {
    run_single<V, kSink, kDigest>(items[j], next[j], shortest, sums);
  }
}

enum class Shape { kEqual, kUneven, kMixed };

Shape shape_of(const CopyItem* items) {
  bool equal = true;
  bool single = items[0].num_parts == 1;
  for (size_t j = 1; j < kLanes; ++j) {
    equal = equal && items[j].num_parts == items[0].num_parts &&
            items[j].num_stripes == items[0].num_stripes;
    single = single && items[j].num_parts == 1;
  }
  if (equal) return Shape::kEqual;
  return single ? Shape::kUneven : Shape::kMixed;
}

// Items kLanes at a time, continued by those that are only prefetched.
class Sequence {
 public:
  Sequence(std::span<const CopyItem> items, std::span<const CopyItem> upcoming)
      : items_(items), upcoming_(upcoming) {}

  // kLanes items from `index` on, or the last ones there are.
  const CopyItem* group(size_t index) const {
    if (index + kLanes <= items_.size()) return &items_[index];
    if (upcoming_.size() < kLanes) return &items_[items_.size() - kLanes];
    const size_t beyond = index < items_.size() ? 0 : index - items_.size();
    return &upcoming_[std::min(beyond, upcoming_.size() - kLanes)];
  }

 private:
  std::span<const CopyItem> items_;
  std::span<const CopyItem> upcoming_;
};

template <class V, Sink kSink, bool kDigest>
KVFERRY_SIMD void run_items(std::span<const CopyItem> items, std::span<const CopyItem> upcoming,
                            BlockSum* sums) {
  const Sequence sequence(items, upcoming);
  size_t i = 0;
  for (; i + kLanes <= items.size(); i += kLanes) {
    const CopyItem* group = &items[i];
    const size_t stripes = kLanes * group->num_parts * group->num_stripes;
    const CopyItem* next =
        sequence.group(i + kLanes * std::max<size_t>(1, kAheadStripes / stripes));
    switch (shape_of(group)) {
      case Shape::kEqual:
        run_group<V, kSink, kDigest>(group, next, sequence.group(i + kTouchItems), sums);
        break;
      case Shape::kUneven:
        run_uneven<V, kSink, kDigest>(group, next, sums);
        break;
      case Shape::kMixed:
        for (size_t j = 0; j < kLanes; ++j) {
          run_single<V, kSink, kDigest>(group[j], next[j], 0, sums);
        }
    }
  }
  for (; i < items.size(); ++i) run_single<V, kSink, kDigest>(items[i], items[i], 0, sums);
}

template <class V>
KVFERRY_SIMD_INLINE uint64_t merge(typename V::Stripe accumulators, size_t blocks) {
  BlockSum result;
  V::store(result.words.data(), accumulators);
  uint64_t merged = 0;
  for (size_t pair = 0; pair < 4; ++pair) {
    merged += xxh3_merge_pair(kXxh3Tables.secret, pair, result.words[2 * pair],
                              result.words[2 * pair + 1]);
  }
  return xxh3_finish(merged, blocks * kXxh3BlockBytes);
}

// Tiles of equal size, side by side: a scramble waits for the one before it, not for its
// neighbours.
template <class V, size_t kCount>
KVFERRY_SIMD_INLINE void fold_equal(const BlockSum* sums, size_t blocks, uint64_t* digests) {
  typename V::Stripe accumulators[kCount];
  for (size_t j = 0; j < kCount; ++j) accumulators[j] = V::load(kXxh3Tables.init);
  for (size_t i = 0; i < blocks; ++i) {
    for (size_t j = 0; j < kCount; ++j) {
      V::add(&accumulators[j], V::load(sums[j * blocks + i].words.data()));
      if (i + 1 < blocks) V::scramble(&accumulators[j], kStripeKeys.scramble.data());
    }
  }
  for (size_t j = 0; j < kCount; ++j) digests[j] = merge<V>(accumulators[j], blocks);
}

template <class V>
KVFERRY_SIMD void fold_tiles(const BlockSum* sums, const size_t* tile_blocks,
                             std::span<uint64_t> digests) {
  constexpr size_t kCount = 4;
  for (size_t i = 0; i < digests.size();) {
    const size_t blocks = tile_blocks[i + 1] - tile_blocks[i];
    bool equal = i + kCount <= digests.size();
    for (size_t j = 1; equal && j < kCount; ++j) {
      equal = tile_blocks[i + j + 1] - tile_blocks[i + j] == blocks;
    }
    if (equal) {
      fold_equal<V, kCount>(sums + tile_blocks[i], blocks, &digests[i]);
    } else {
      fold_equal<V, 1>(sums + tile_blocks[i], blocks, &digests[i]);
    }
    i += equal ? kCount : 1;
  }
}

template <class V>
constexpr CopyLoop make_copy_loop() {
  return {.copy = {{run_items<V, Sink::kCached, false>, run_items<V, Sink::kCached, true>},
                   {run_items<V, Sink::kStreaming, false>, run_items<V, Sink::kStreaming, true>}},
          .hash = run_items<V, Sink::kNone, true>,
          .fold = fold_tiles<V>,
          .fence = V::fence};
}

}  // namespace
}  // namespace kvferry
