#pragma once

#include "core/wire.h"
#include "kvferry/checksum.h"
#include "kvferry/chunk_layout.h"

namespace kvferry::detail {

/// What a layout digest binds and a chunk record keeps: docs/formats/checksum.md has the fields.
inline void write_layout_head(WireWriter& out, const ChunkLayout& layout) {
  out.u8(static_cast<uint8_t>(layout.dtype));
  out.u8(static_cast<uint8_t>(layout.format));
  out.u16(0);
  out.u32(static_cast<uint32_t>(kTileTokens));
  out.u32(static_cast<uint32_t>(layout.heads.global_heads));
  out.u32(static_cast<uint32_t>(layout.heads.begin));
  out.u32(static_cast<uint32_t>(layout.heads.count));
  out.u32(static_cast<uint32_t>(layout.planes.size()));
}

inline void write_layout_planes(WireWriter& out, const ChunkLayout& layout) {
  for (const ChunkPlane& plane : layout.planes) {
    out.u32(static_cast<uint32_t>(plane.group));
    out.u32(static_cast<uint32_t>(plane.layer));
    out.u32(static_cast<uint32_t>(plane.role));
    out.u64(static_cast<uint64_t>(plane.row_bytes));
  }
}

}  // namespace kvferry::detail
