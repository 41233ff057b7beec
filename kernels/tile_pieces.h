#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/paged_copy.h"

namespace kvferry {

/// Bytes that are contiguous in the pages and in the chunk. `page` is null for skipped tokens.
struct TilePiece {
  std::byte* page = nullptr;
  std::byte* chunk = nullptr;
  size_t bytes = 0;
};

/// Appends the pieces of one tile, in the order of its logical bytes [token][head][content].
/// `chunk` is the start of the whole chunk.
void append_tile_pieces(const PagedCopyPlane& plane, std::span<const TileSegment> segments,
                        std::byte* chunk, std::vector<TilePiece>* pieces);

/// The pieces of the tile in hand and of those that follow, so that a copy loop can prefetch across
/// pieces, tiles and planes. Tiles are numbered from the first of `plane_begin`.
///
/// Owner:   borrows `copy`
/// Cost:    expands each tile once; holds a few tiles at a time
class TileWindow {
 public:
  /// Visits tiles [tile_begin, tile_end), always holding `ahead_bytes` beyond the tile in hand while
  /// there are that many.
  TileWindow(const PagedCopy& copy, std::byte* chunk, int32_t plane_begin, int64_t tile_begin,
             int64_t tile_end, size_t ahead_bytes);

  /// Moves to the next tile; false after the last. The spans below then change.
  bool next();
  int64_t tile() const { return tile_; }
  std::span<const TilePiece> pieces() const {
    return std::span(pieces_).subspan(begin_, end_ - begin_);
  }
  /// The pieces of the tile in hand and all that are known after it.
  std::span<const TilePiece> ahead() const { return std::span(pieces_).subspan(begin_); }

 private:
  void expand_one();

  const PagedCopy& copy_;
  std::byte* chunk_;
  int32_t plane_begin_;
  int64_t tile_;         // in hand
  int64_t tile_end_;
  int64_t expanded_;     // first tile not yet in pieces_
  size_t ahead_bytes_;
  size_t bytes_after_ = 0;  // bytes in pieces_ after the tile in hand
  size_t begin_ = 0;
  size_t end_ = 0;
  std::vector<TilePiece> pieces_;
  std::vector<size_t> tile_pieces_;  // piece counts of the tiles after the one in hand
};

}  // namespace kvferry
