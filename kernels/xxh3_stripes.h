#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/host_device.h"

namespace kvferry {

// XXH3-64 (seed 0, default secret) in the pieces a fused copy needs: 64-byte stripes go into eight
// accumulators, 16 stripes make a block, blocks are scrambled. A tile is a whole number of blocks,
// so only its last block is special: its last stripe takes another key and no scramble follows.
// Equal to libxxhash bit for bit (tests/kernels/paged_copy_test.cc).

inline constexpr size_t kXxh3StripeBytes = 64;
inline constexpr size_t kXxh3BlockStripes = 16;
inline constexpr size_t kXxh3BlockBytes = kXxh3StripeBytes * kXxh3BlockStripes;
inline constexpr size_t kXxh3ScrambleKey = 128;  ///< byte offset into the secret
inline constexpr size_t kXxh3LastStripeKey = 121;
inline constexpr size_t kXxh3MergeKey = 11;

inline constexpr uint64_t kXxh32Prime1 = 0x9E3779B1U;
inline constexpr uint64_t kXxh32Prime2 = 0x85EBCA77U;
inline constexpr uint64_t kXxh32Prime3 = 0xC2B2AE3DU;
inline constexpr uint64_t kXxh64Prime1 = 0x9E3779B185EBCA87U;
inline constexpr uint64_t kXxh64Prime2 = 0xC2B2AE3D27D4EB4FU;
inline constexpr uint64_t kXxh64Prime3 = 0x165667B19E3779F9U;
inline constexpr uint64_t kXxh64Prime4 = 0x85EBCA77C2B2AE63U;
inline constexpr uint64_t kXxh64Prime5 = 0x27D4EB2F165667C5U;

/// What XXH3 takes from tables; one object, so that a device can keep a copy of its own.
struct Xxh3Tables {
  uint64_t secret[24];  ///< the default secret, as little-endian words
  uint64_t init[8];     ///< the accumulators before the first stripe
};

inline constexpr Xxh3Tables kXxh3Tables = {
    .secret = {0xbe4ba423396cfeb8, 0x1cad21f72c81017c, 0xdb979083e96dd4de, 0x1f67b3b7a4a44072,
               0x78e5c0cc4ee679cb, 0x2172ffcc7dd05a82, 0x8e2443f7744608b8, 0x4c263a81e69035e0,
               0xcb00c391bb52283c, 0xa32e531b8b65d088, 0x4ef90da297486471, 0xd8acdea946ef1938,
               0x3f349ce33f76faa8, 0x1d4f0bc7c7bbdcf9, 0x3159b4cd4be0518a, 0x647378d9c97e9fc8,
               0xc3ebd33483acc5ea, 0xeb6313faffa081c5, 0x49daf0b751dd0d17, 0x9e68d429265516d3,
               0xfca1477d58be162b, 0xce31d07ad1b8f88f, 0x280416958f3acb45, 0x7e404bbbcafbd7af},
    .init = {kXxh32Prime3, kXxh64Prime1, kXxh64Prime2, kXxh64Prime3, kXxh64Prime4, kXxh32Prime2,
             kXxh64Prime5, kXxh32Prime1}};

/// The secret's 8 bytes at any byte `offset` up to 184. `words` is Xxh3Tables::secret, wherever the
/// caller's device keeps it.
KVFERRY_HD constexpr uint64_t xxh3_key(const uint64_t* words, size_t offset) {
  const size_t word = offset / 8;
  const unsigned shift = static_cast<unsigned>(offset % 8) * 8;
  if (shift == 0) return words[word];
  return (words[word] >> shift) | (words[word + 1] << (64 - shift));
}

/// What 8 bytes of data add to their own accumulator; the data itself goes to its neighbour.
KVFERRY_HD constexpr uint64_t xxh3_product(uint64_t data, uint64_t key) {
  const uint64_t mixed = data ^ key;
  return (mixed & 0xFFFFFFFFU) * (mixed >> 32);
}

KVFERRY_HD constexpr uint64_t xxh3_scramble(uint64_t accumulator, uint64_t key) {
  return (accumulator ^ (accumulator >> 47) ^ key) * kXxh32Prime1;
}

/// High half of a 64 x 64 product, xor-ed onto its low half.
KVFERRY_HD constexpr uint64_t xxh3_fold_product(uint64_t a, uint64_t b) {
#if defined(__SIZEOF_INT128__) && !defined(__CUDACC__)
  __extension__ using Wide = unsigned __int128;
  const Wide product = Wide{a} * b;
  return static_cast<uint64_t>(product >> 64) ^ static_cast<uint64_t>(product);
#else
  const uint64_t a_low = a & 0xFFFFFFFFU, a_high = a >> 32;
  const uint64_t b_low = b & 0xFFFFFFFFU, b_high = b >> 32;
  const uint64_t middle = a_high * b_low + ((a_low * b_low) >> 32);  // cannot overflow
  const uint64_t cross = a_low * b_high + (middle & 0xFFFFFFFFU);    // nor can this
  const uint64_t high = a_high * b_high + (middle >> 32) + (cross >> 32);
  return high ^ (a * b);
#endif
}

/// What accumulators 2 * pair and 2 * pair + 1 add to the digest.
KVFERRY_HD constexpr uint64_t xxh3_merge_pair(const uint64_t* words, size_t pair, uint64_t even,
                                              uint64_t odd) {
  const size_t offset = kXxh3MergeKey + pair * 16;
  return xxh3_fold_product(even ^ xxh3_key(words, offset), odd ^ xxh3_key(words, offset + 8));
}

/// The digest of `total_bytes`, from the sum of the four merged pairs.
KVFERRY_HD constexpr uint64_t xxh3_finish(uint64_t merged_pairs, uint64_t total_bytes) {
  uint64_t hash = total_bytes * kXxh64Prime1 + merged_pairs;
  hash = (hash ^ (hash >> 37)) * 0x165667919E3779F9U;
  return hash ^ (hash >> 32);
}

}  // namespace kvferry
