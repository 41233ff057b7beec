#include "kvferry/slot_mapping.h"

#include <algorithm>
#include <string>

namespace kvferry {
namespace {

Status check_range(int32_t block_tokens, int64_t token_begin, int64_t token_end) {
  if (block_tokens < 1) {
    return Status(StatusCode::kInvalidArgument, "block_tokens is " + std::to_string(block_tokens) +
                                                    "; a block holds at least 1 token");
  }
  if (token_begin < 0 || token_end < token_begin || token_end - token_begin > kMaxMappedTokens) {
    return Status(StatusCode::kInvalidArgument, "token range [" + std::to_string(token_begin) +
                                                    ", " + std::to_string(token_end) +
                                                    ") is negative, reversed or longer than " +
                                                    std::to_string(kMaxMappedTokens) + " tokens");
  }
  return Status();
}

Result<int64_t> first_slot(int64_t block, size_t index, int32_t block_tokens) {
  int64_t end = 0;
  const bool fits = block >= 0 && !__builtin_add_overflow(block, 1, &end) &&
                    !__builtin_mul_overflow(end, int64_t{block_tokens}, &end);
  if (!fits) {
    return make_error(StatusCode::kOutOfRange,
                      "block_table[" + std::to_string(index) + "] is " + std::to_string(block) +
                          ", which is no block of " + std::to_string(block_tokens) + " tokens");
  }
  return end - block_tokens;
}

}  // namespace

Result<std::vector<SlotRun>> merge_slot_runs(SlotMapping slots, int64_t num_slots) {
  std::vector<SlotRun> runs;
  for (size_t i = 0; i < slots.size(); ++i) {
    const int64_t token = static_cast<int64_t>(i);
    const int64_t slot = slots[i];
    if (slot < 0) continue;
    if (slot >= num_slots) {
      return make_error(StatusCode::kOutOfRange,
                        "slot " + std::to_string(slot) + " of token " + std::to_string(token) +
                            " lies past the cache of " + std::to_string(num_slots) + " slots");
    }
    const bool continues = !runs.empty() && runs.back().slot + runs.back().count == slot &&
                           runs.back().token + runs.back().count == token;
    if (continues) {
      ++runs.back().count;
    } else {
      runs.push_back({token, slot, 1});
    }
  }
  return runs;
}

Result<std::vector<int64_t>> slots_from_block_table(std::span<const int64_t> block_table,
                                                    int32_t block_tokens, int64_t token_begin,
                                                    int64_t token_end) {
  KVFERRY_RETURN_IF_ERROR(check_range(block_tokens, token_begin, token_end));
  std::vector<int64_t> slots;
  if (token_begin == token_end) return slots;
  if (static_cast<uint64_t>((token_end - 1) / block_tokens) >= block_table.size()) {
    return make_error(StatusCode::kOutOfRange,
                      "token_end " + std::to_string(token_end) + " lies past a block table of " +
                          std::to_string(block_table.size()) + " blocks of " +
                          std::to_string(block_tokens) + " tokens");
  }
  slots.reserve(static_cast<size_t>(token_end - token_begin));
  for (int64_t token = token_begin; token < token_end;) {
    const int64_t index = token / block_tokens;
    const int64_t offset = token % block_tokens;
    const int64_t count = std::min(block_tokens - offset, token_end - token);
    const auto position = static_cast<size_t>(index);
    KVFERRY_ASSIGN_OR_RETURN(const int64_t block_slot,
                             first_slot(block_table[position], position, block_tokens));
    for (int64_t i = 0; i < count; ++i) slots.push_back(block_slot + offset + i);
    token += count;
  }
  return slots;
}

}  // namespace kvferry
