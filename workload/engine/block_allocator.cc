#include "workload/engine/block_allocator.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "workload/mix64.h"

namespace kvferry {
namespace {

constexpr int64_t kMaxBlocks = int64_t{1} << 26;
/// How often each block is taken, on average, before the list counts as aged.
constexpr int64_t kAgeingRounds = 2;
constexpr int64_t kLiveSequences = 32;
constexpr int64_t kMaxGrowth = 4;  ///< blocks that a sequence gets at a time

}  // namespace

BlockAllocator::BlockAllocator(int64_t num_blocks)
    : free_list_(static_cast<size_t>(num_blocks)), is_free_(static_cast<size_t>(num_blocks), true) {
  std::iota(free_list_.begin(), free_list_.end(), int64_t{0});
}

Result<BlockAllocator> BlockAllocator::create(int64_t num_blocks, uint64_t seed) {
  if (num_blocks < 1 || num_blocks > kMaxBlocks) {
    return make_error(StatusCode::kInvalidArgument, "paged cache of " + std::to_string(num_blocks) +
                                                        " blocks; it must have from 1 to " +
                                                        std::to_string(kMaxBlocks));
  }
  BlockAllocator allocator(num_blocks);
  allocator.age(seed);
  return allocator;
}

void BlockAllocator::age(uint64_t seed) {
  detail::SplitMix64 random(seed);
  std::vector<std::vector<int64_t>> sequences(kLiveSequences);
  int64_t to_take = kAgeingRounds * num_blocks();
  while (to_take > 0) {
    std::vector<int64_t>& sequence =
        sequences[static_cast<size_t>(random.between(0, kLiveSequences - 1))];
    const bool ends = random.between(0, kLiveSequences - 1) == 0;
    const int64_t growth = std::min({random.between(1, kMaxGrowth), free_blocks(), to_take});
    if (ends || growth == 0) {
      give_back(sequence);
      sequence.clear();
    } else {
      take(growth, sequence);
      to_take -= growth;
    }
  }
  for (const std::vector<int64_t>& sequence : sequences) give_back(sequence);
}

void BlockAllocator::take(int64_t count, std::vector<int64_t>& blocks) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t block = free_list_.front();
    free_list_.pop_front();
    is_free_[static_cast<size_t>(block)] = false;
    blocks.push_back(block);
  }
}

void BlockAllocator::give_back(std::span<const int64_t> blocks) {
  for (const int64_t block : blocks) {
    is_free_[static_cast<size_t>(block)] = true;
    free_list_.push_back(block);
  }
}

Result<std::vector<int64_t>> BlockAllocator::allocate(int64_t count) {
  if (count < 0) {
    return make_error(StatusCode::kInvalidArgument,
                      "cannot allocate " + std::to_string(count) + " blocks");
  }
  if (count > free_blocks()) {
    return make_error(StatusCode::kResourceExhausted,
                      "paged cache has " + std::to_string(free_blocks()) + " of " +
                          std::to_string(num_blocks()) + " blocks free, " + std::to_string(count) +
                          " are wanted");
  }
  std::vector<int64_t> blocks;
  blocks.reserve(static_cast<size_t>(count));
  take(count, blocks);
  return blocks;
}

Status BlockAllocator::free(std::span<const int64_t> blocks) {
  for (size_t i = 0; i < blocks.size(); ++i) {
    const int64_t block = blocks[i];
    const bool exists = block >= 0 && block < num_blocks();
    if (exists && !is_free_[static_cast<size_t>(block)]) {
      is_free_[static_cast<size_t>(block)] = true;
      continue;
    }
    for (const int64_t undone : blocks.first(i)) is_free_[static_cast<size_t>(undone)] = false;
    if (!exists) {
      return {StatusCode::kOutOfRange, "cannot free block " + std::to_string(block) +
                                           ": paged cache has " + std::to_string(num_blocks()) +
                                           " blocks"};
    }
    return {StatusCode::kFailedPrecondition,
            "cannot free block " + std::to_string(block) + ": it is free already"};
  }
  free_list_.insert(free_list_.end(), blocks.begin(), blocks.end());
  return {};
}

}  // namespace kvferry
