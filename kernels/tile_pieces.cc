#include "kernels/tile_pieces.h"

#include <algorithm>

namespace kvferry {
namespace {

// Which neighbours in logical order are neighbours in the pages, and in the chunk.
struct Contiguity {
  bool rows;    // a token's heads follow one another in the page
  bool tokens;  // tokens follow one another on both sides
  bool blocks;  // a block's last token is followed by the next block's first

  explicit Contiguity(const PagedCopyPlane& plane)
      : rows(plane.num_heads == 1 || plane.head_stride_bytes == plane.content_bytes),
        tokens(rows && plane.token_stride_bytes == plane.row_bytes() &&
               plane.chunk_token_stride_bytes == plane.row_bytes()),
        blocks(plane.block_stride_bytes == plane.block_tokens * plane.token_stride_bytes) {}
};

// `count` tokens of one block, or of neighbouring ones.
void append_span(const PagedCopyPlane& plane, Contiguity contiguity, std::byte* page,
                 std::byte* chunk, int64_t count, std::vector<TilePiece>* pieces) {
  if (contiguity.tokens) {
    pieces->push_back({page, chunk, static_cast<size_t>(count * plane.row_bytes())});
    return;
  }
  for (int64_t token = 0; token < count; ++token) {
    std::byte* row = page + token * plane.token_stride_bytes;
    std::byte* out = chunk + token * plane.chunk_token_stride_bytes;
    if (contiguity.rows) {
      pieces->push_back({row, out, static_cast<size_t>(plane.row_bytes())});
      continue;
    }
    for (int64_t head = 0; head < plane.num_heads; ++head) {
      pieces->push_back({row + head * plane.head_stride_bytes, out + head * plane.content_bytes,
                         static_cast<size_t>(plane.content_bytes)});
    }
  }
}

void append_skipped(const PagedCopyPlane& plane, std::byte* chunk, int64_t count,
                    std::vector<TilePiece>* pieces) {
  for (int64_t token = 0; token < count; ++token) {
    pieces->push_back({nullptr, chunk + token * plane.chunk_token_stride_bytes,
                       static_cast<size_t>(plane.row_bytes())});
  }
}

}  // namespace

void append_tile_pieces(const PagedCopyPlane& plane, std::span<const TileSegment> segments,
                        std::byte* chunk, std::vector<TilePiece>* pieces) {
  const Contiguity contiguity(plane);
  for (const TileSegment& segment : segments) {
    int64_t slot = segment.slot;
    int64_t left = segment.count;
    std::byte* out = chunk + chunk_offset(plane, segment.token);
    if (slot < 0) {
      append_skipped(plane, out, left, pieces);
      continue;
    }
    while (left > 0) {
      const int64_t in_block = plane.block_tokens - slot % plane.block_tokens;
      const int64_t count = contiguity.blocks ? left : std::min(left, in_block);
      append_span(plane, contiguity, plane.pages + page_offset(plane, slot, 0), out, count, pieces);
      slot += count;
      left -= count;
      out += count * plane.chunk_token_stride_bytes;
    }
  }
}

TileWindow::TileWindow(const PagedCopy& copy, std::byte* chunk, int32_t plane_begin,
                       int64_t tile_begin, int64_t tile_end, size_t ahead_bytes)
    : copy_(copy),
      chunk_(chunk),
      plane_begin_(plane_begin),
      tile_(tile_begin - 1),
      tile_end_(tile_end),
      expanded_(tile_begin),
      ahead_bytes_(ahead_bytes) {}

void TileWindow::expand_one() {
  const int64_t per_plane = copy_.tiles_per_plane();
  const int64_t plane_index = plane_begin_ + expanded_ / per_plane;
  const PagedCopyPlane& plane = copy_.planes()[static_cast<size_t>(plane_index)];
  const int64_t tile_in_plane = expanded_ % per_plane;
  const size_t before = pieces_.size();
  append_tile_pieces(plane, copy_.segments(plane.group, tile_in_plane), chunk_, &pieces_);
  tile_pieces_.push_back(pieces_.size() - before);
  bytes_after_ += static_cast<size_t>(tile_token_count(tile_in_plane, copy_.num_tokens()) *
                                      plane.row_bytes());
  ++expanded_;
}

bool TileWindow::next() {
  if (++tile_ >= tile_end_) return false;
  pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(end_));
  begin_ = 0;
  if (tile_pieces_.empty()) expand_one();
  end_ = tile_pieces_.front();
  tile_pieces_.erase(tile_pieces_.begin());
  for (const TilePiece& piece : pieces()) bytes_after_ -= piece.bytes;
  while (bytes_after_ < ahead_bytes_ && expanded_ < tile_end_) expand_one();
  return true;
}

}  // namespace kvferry
