#pragma once

#include <cstdint>

namespace kvferry::detail {

/// Sizes and offsets stay at or below this, so that sums of two of them never overflow.
inline constexpr int64_t kMaxExtent = int64_t{1} << 62;

/// Arithmetic on non-negative sizes that remembers whether anything was negative, overflowed or
/// passed kMaxExtent. Values are 0 from then on.
class CheckedMath {
 public:
  bool is_ok() const { return ok_; }

  int64_t mul(int64_t a, int64_t b) {
    int64_t out = 0;
    const bool fits = !__builtin_mul_overflow(a, b, &out) && a >= 0 && b >= 0;
    return settle(fits, out);
  }
  int64_t add(int64_t a, int64_t b) {
    int64_t out = 0;
    const bool fits = !__builtin_add_overflow(a, b, &out) && a >= 0 && b >= 0;
    return settle(fits, out);
  }

 private:
  int64_t settle(bool fits, int64_t value) {
    ok_ = ok_ && fits && value <= kMaxExtent;
    return ok_ ? value : 0;
  }

  bool ok_ = true;
};

}  // namespace kvferry::detail
