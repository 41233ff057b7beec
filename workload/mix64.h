#pragma once

#include <cstdint>

namespace kvferry::detail {

/// A bijection of 64-bit numbers in which each input bit flips each output bit half of the time.
///
/// Source: Stafford's variant 13, the finaliser of SplitMix64.
constexpr uint64_t mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/// SplitMix64: a small generator whose numbers are the same with every standard library.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  uint64_t next() { return mix64(state_ += 0x9e3779b97f4a7c15); }

  /// Uniform in [low, high]; the bias of the remainder is below 2^-32 for ranges up to 2^32.
  int64_t between(int64_t low, int64_t high) {
    const uint64_t range = static_cast<uint64_t>(high - low) + 1;
    return low + static_cast<int64_t>(next() % range);
  }

 private:
  uint64_t state_;
};

}  // namespace kvferry::detail
