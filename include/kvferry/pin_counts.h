#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace kvferry {

/// Who holds a pin: a number that its holders choose. 0 is whoever gives no name.
using PinOwner = uint64_t;

/// The pins of one chunk, counted per owner: nobody's surplus unpin releases another's pin.
///
/// Threads: caller serialises
class PinCounts {
 public:
  void pin(PinOwner owner) {
    for (auto& [each, count] : counts_) {
      if (each == owner) {
        ++count;
        return;
      }
    }
    counts_.emplace_back(owner, 1);
  }

  /// False when `owner` has no pin here.
  bool unpin(PinOwner owner) {
    const auto found = std::find_if(counts_.begin(), counts_.end(),
                                    [owner](const auto& each) { return each.first == owner; });
    if (found == counts_.end()) return false;
    if (--found->second == 0) counts_.erase(found);
    return true;
  }

  bool is_pinned() const { return !counts_.empty(); }

 private:
  std::vector<std::pair<PinOwner, uint64_t>> counts_;
};

}  // namespace kvferry
