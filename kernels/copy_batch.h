#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/copy_loop.h"
#include "kernels/paged_copy.h"

namespace kvferry {

/// Some tiles of a paged copy, as independent items for a CopyLoop.
///
/// Contiguous pieces become items of at most 4 KiB, so that a loop over four neighbouring items
/// walks four places at once. Tiles with pieces that are no multiple of a stripe are put together
/// in cache first, and hashed from there.
///
/// Owner: borrows `copy` and `chunk`
/// Cost:  O(pieces + KiB); no allocation once its vectors have grown
class CopyBatch {
 public:
  CopyBatch(const PagedCopy& copy, CopyDirection direction, std::byte* chunk);

  void clear();
  void add_tile(int64_t plane, int64_t tile_in_plane);

  size_t bytes() const { return bytes_; }
  size_t num_tiles() const { return tile_blocks_.size() - 1; }
  /// Every destination is 64-byte aligned.
  bool is_aligned() const { return (destinations_ & (kXxh3StripeBytes - 1)) == 0; }

  std::span<const CopyItem> copies() const { return copies_; }
  /// Items that only count in the digest.
  std::span<const CopyItem> hashes() const { return hashes_; }
  BlockSum* sums() { return sums_.data(); }
  /// First block of each tile, and the end of the last.
  const size_t* tile_blocks() const { return tile_blocks_.data(); }

 private:
  // `count` parts that are contiguous in the pages and in the chunk, each. `page` is null for
  // skipped tokens.
  struct Piece {
    std::byte* page;
    std::byte* chunk;
    int64_t page_step;
    int64_t chunk_step;
    size_t part_bytes;
    size_t tile_offset;  // in the tile's logical bytes
    size_t tile_step;
    size_t count;
  };

  void collect_pieces(const PagedCopyPlane& plane, int64_t tile_in_plane);
  void collect_span(const PagedCopyPlane& plane, std::byte* page, int64_t token, int64_t count);
  void add_pieces(size_t first_block);
  void push(const CopyItem& item);
  void add_contiguous(const CopyItem& start, size_t stripes);
  void add_zeros(std::byte* to, size_t stripe, size_t end_stripe);
  void add_staged(size_t first_block, size_t tile_bytes);

  const PagedCopy& copy_;
  const CopyDirection direction_;
  std::byte* const chunk_;

  size_t bytes_ = 0;
  uintptr_t destinations_ = 0;  // all addresses, or-ed
  std::vector<Piece> pieces_;   // of the tile in hand
  std::vector<CopyItem> copies_;
  std::vector<CopyItem> hashes_;
  std::vector<BlockSum> sums_;
  std::vector<size_t> tile_blocks_;  // first block of each tile, and the end
  std::vector<std::vector<std::byte>> stages_;
  size_t stages_used_ = 0;
};

}  // namespace kvferry
