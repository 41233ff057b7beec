#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "kvferry/status.h"

namespace kvferry {

/// Hands out the blocks of a paged cache from a first-in first-out free list, as vLLM does.
///
/// The list starts as hours of serving leave it: requests of many lengths grew side by side and
/// ended in another order, so neighbours in the list are rarely neighbours in memory, but for short
/// runs. Equal seeds, equal lists. Freed blocks go to the end of the list in the order given, so it
/// never heals.
///
/// Threads: any thread, caller serialises.
class BlockAllocator {
 public:
  /// Errors: kInvalidArgument unless num_blocks is from 1 to 2^26.
  static Result<BlockAllocator> create(int64_t num_blocks, uint64_t seed);

  /// A block table of `count` blocks.
  ///
  /// Errors: kResourceExhausted at once if fewer are free; kInvalidArgument if count < 0.
  Result<std::vector<int64_t>> allocate(int64_t count);

  /// Errors: kOutOfRange for a block that does not exist, kFailedPrecondition for one that is free
  ///   already or is named twice; nothing is freed then.
  Status free(std::span<const int64_t> blocks);

  int64_t free_blocks() const { return static_cast<int64_t>(free_list_.size()); }
  int64_t num_blocks() const { return static_cast<int64_t>(is_free_.size()); }

 private:
  explicit BlockAllocator(int64_t num_blocks);
  void age(uint64_t seed);
  void take(int64_t count, std::vector<int64_t>& blocks);
  void give_back(std::span<const int64_t> blocks);

  std::deque<int64_t> free_list_;
  std::vector<bool> is_free_;
};

}  // namespace kvferry
