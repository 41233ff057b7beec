#pragma once

#include <array>
#include <cstddef>
#include <optional>

namespace kvferry {

inline constexpr size_t kNumPriorities = 3;

/// Whose turn it is: the highest priority that waits (0 is the highest), but one that was passed
/// over kPatience times in a row comes first. So the lower ones get a share, and starve never.
///
/// Threads: caller serialises.
class PriorityTurns {
 public:
  static constexpr int kPatience = 8;
  using Waiting = std::array<bool, kNumPriorities>;

  /// Empty if none waits.
  std::optional<size_t> next(const Waiting& waiting) const {
    std::optional<size_t> chosen;
    for (size_t i = kNumPriorities; i-- > 0;) {
      if (!waiting[i]) continue;
      if (passed_over_[i] >= kPatience) return i;
      chosen = i;
    }
    return chosen;
  }

  /// `priority` had its turn while those in `waiting` waited.
  void took(size_t priority, const Waiting& waiting) {
    for (size_t i = 0; i < kNumPriorities; ++i) {
      if (i == priority || !waiting[i]) {
        passed_over_[i] = 0;
      } else if (i > priority) {
        ++passed_over_[i];
      }
    }
  }

 private:
  std::array<int, kNumPriorities> passed_over_{};
};

}  // namespace kvferry
