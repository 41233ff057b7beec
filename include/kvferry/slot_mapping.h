#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvferry/status.h"

namespace kvferry {

/// Token -> slot of a paged cache, one entry a token, as vLLM hands it to its kernels.
/// slot = block * block_tokens + offset in block; negative = skip this token.
using SlotMapping = std::span<const int64_t>;

/// Most tokens that slots_from_block_table() maps in one call.
inline constexpr int64_t kMaxMappedTokens = int64_t{1} << 28;

/// Tokens that lie in consecutive slots: slots [slot, slot + count) hold tokens
/// [token, token + count). Skipped tokens belong to no run.
struct SlotRun {
  int64_t token = 0;
  int64_t slot = 0;
  int64_t count = 0;

  friend bool operator==(const SlotRun&, const SlotRun&) = default;
};

/// Merges a mapping into its longest runs, in token order. Runs may span blocks.
///
/// Errors: kOutOfRange naming token and slot, if a slot is >= num_slots.
KVFERRY_EXPORT Result<std::vector<SlotRun>> merge_slot_runs(SlotMapping slots, int64_t num_slots);

/// Slots of tokens [token_begin, token_end) of a sequence whose block i is block_table[i].
///
/// Errors: kOutOfRange if the table is too short for token_end or holds a negative block;
///   kInvalidArgument if block_tokens < 1, or the range is reversed, negative or longer than
///   kMaxMappedTokens.
KVFERRY_EXPORT Result<std::vector<int64_t>> slots_from_block_table(
    std::span<const int64_t> block_table, int32_t block_tokens, int64_t token_begin,
    int64_t token_end);

}  // namespace kvferry
