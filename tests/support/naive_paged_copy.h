#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvferry/chunk_layout.h"
#include "kvferry/kv_layout.h"
#include "kvferry/slot_mapping.h"

namespace kvferry::test {

// The reference for every paged copy: the formulas of kv_layout.h and chunk_layout.h as plain index
// loops, sharing no code with what they check.

/// Calls visit(page byte, chunk offset) for each byte of planes [plane_begin, plane_end), with a
/// null page byte for skipped tokens.
template <typename Visit>
void for_each_byte(const KVLayout& pages, const ChunkLayout& chunk,
                   std::span<const SlotMapping> slots, int32_t plane_begin, int32_t plane_end,
                   Visit visit) {
  int32_t index = 0;
  for (size_t g = 0; g < pages.groups.size(); ++g) {
    const KVGroup& group = pages.groups[g];
    for (const KVPlane& plane : group.planes) {
      const ChunkPlane& rows = chunk.planes[static_cast<size_t>(index)];
      if (index++ < plane_begin || index > plane_end) continue;
      for (int64_t token = 0; token < chunk.num_tokens; ++token) {
        const int64_t slot = slots[g][static_cast<size_t>(token)];
        for (int64_t head = 0; head < plane.num_heads; ++head) {
          for (int64_t content = 0; content < plane.content_bytes; ++content) {
            std::byte* page = nullptr;
            if (slot >= 0) {
              page = plane.base + (slot / group.block_tokens) * plane.block_stride_bytes +
                     (slot % group.block_tokens) * plane.token_stride_bytes +
                     head * plane.head_stride_bytes + content;
            }
            visit(page, rows.offset_bytes + token * rows.token_stride_bytes +
                            head * plane.content_bytes + content);
          }
        }
      }
    }
  }
}

inline void naive_gather(const KVLayout& pages, const ChunkLayout& layout,
                         std::span<const SlotMapping> slots, int32_t plane_begin, int32_t plane_end,
                         std::span<std::byte> chunk) {
  for_each_byte(pages, layout, slots, plane_begin, plane_end,
                [&](const std::byte* page, int64_t offset) {
                  chunk[static_cast<size_t>(offset)] = page == nullptr ? std::byte{0} : *page;
                });
}

inline void naive_scatter(const KVLayout& pages, const ChunkLayout& layout,
                          std::span<const SlotMapping> slots, int32_t plane_begin,
                          int32_t plane_end, std::span<const std::byte> chunk) {
  for_each_byte(pages, layout, slots, plane_begin, plane_end, [&](std::byte* page, int64_t offset) {
    if (page != nullptr) *page = chunk[static_cast<size_t>(offset)];
  });
}

}  // namespace kvferry::test
