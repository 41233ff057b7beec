#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "kvferry/chunk_hash.h"
#include "kvferry/kv_layout.h"
#include "kvferry/slot_mapping.h"
#include "kvferry/status.h"

namespace kvferry {

// The oracle: the bytes that an engine would have computed. It finds its way through pages by the
// address formula of KVPlane alone and shares no code with kernels/.
//
// A row (one token of one plane, all heads of the model) is a pure function of the chunk's hash,
// the token's offset in the chunk and the plane's index: a keyed stream of 64-bit words, all of
// them different. Rows of other chunks, tokens or planes are other streams, so a swapped, stale or
// foreign page differs in nearly every byte. A rank that holds some heads holds their part of it.

/// What poison_slots() writes.
inline constexpr std::byte kPoisonByte{0xdb};

/// The first byte of a chunk's pages that is not what the oracle says.
struct ContentMismatch {
  int32_t plane = 0;
  int32_t layer = 0;
  KVRole role = KVRole::kKey;
  int64_t token = 0;  ///< offset in the chunk
  int64_t slot = 0;
  int32_t head = 0;  ///< of this rank
  int64_t byte = 0;  ///< of the content of (token, head)
  std::byte expected{};
  std::byte found{};

  std::string to_string() const;
};

/// That the oracle can fill such a layout, wherever its pages lie, and every slot is in it.
///
/// Errors: kOutOfRange naming token and slot; kUnimplemented for a layout of several groups.
Status check_slots(const KVLayout& layout, SlotMapping slots);

/// Where the first head of a slot's token lies.
std::byte* page_of(const KVGroup& group, const KVPlane& plane, int64_t slot);

/// Bytes [offset, offset + row.size()) of a row.
void expected_row(const ChunkHash& chunk, int64_t token, int32_t plane, int64_t offset,
                  std::span<std::byte> row);

/// Writes a chunk's content into an engine's pages; slots[i] is where its token i lies.
///
/// Negative slots are skipped. Bytes of other slots, and gaps between contents, are not touched.
///
/// Errors: kOutOfRange naming token and slot, if a slot is past the cache; kUnimplemented for a
///   layout of several groups; kInvalidArgument for pages that are not the host's; nothing is
///   written then.
/// Cost:   O(bytes). One core of a server of 2023: 4.5 to 7.5 GB/s with contiguous rows or heads of
///   256 bytes, 3.5 with scattered heads of 128 bytes; memcpy reached 8 there.
Status fill_chunk(const KVLayout& layout, SlotMapping slots, const ChunkHash& chunk);

/// Compares a chunk's pages with the oracle; the first mismatch by plane, token, head and byte.
///
/// Errors: as fill_chunk().
Result<std::optional<ContentMismatch>> verify_chunk(const KVLayout& layout, SlotMapping slots,
                                                    const ChunkHash& chunk);

/// Overwrites the contents of slots, so that what was there before cannot pass verify_chunk().
///
/// Errors: as fill_chunk().
Status poison_slots(const KVLayout& layout, SlotMapping slots);

/// Are slots as poison_slots() left them? Who wrote into pages that were given back is found so.
///
/// Errors: as fill_chunk().
Result<bool> are_poisoned(const KVLayout& layout, SlotMapping slots);

}  // namespace kvferry
