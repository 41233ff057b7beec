#include "kernels/copy_batch.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace kvferry {
namespace {

// XXH3 blocks of an item: a run of 32 KiB whole, so that the four items of a group lie in four
// runs. Four places in one run were 2 to 3% slower.
constexpr size_t kItemBlocks = 32;

// What skipped tokens and the tail of a tile's last block are read from.
alignas(kXxh3StripeBytes) constexpr std::array<std::byte, kXxh3BlockBytes> kZeros = {};

}  // namespace

CopyBatch::CopyBatch(const PagedCopy& copy, CopyDirection direction, std::byte* chunk)
    : copy_(copy), direction_(direction), chunk_(chunk) {
  clear();
}

void CopyBatch::clear() {
  bytes_ = 0;
  destinations_ = 0;
  copies_.clear();
  hashes_.clear();
  sums_.clear();
  tile_blocks_.assign(1, 0);
  stages_used_ = 0;
}

void CopyBatch::collect_span(const PagedCopyPlane& plane, std::byte* page, int64_t token,
                             int64_t count) {
  const bool rows = plane.num_heads == 1 || plane.head_stride_bytes == plane.content_bytes;
  const int64_t row_bytes = plane.row_bytes();
  const Piece row{.page = page,
                  .chunk = chunk_ + chunk_offset(plane, token),
                  .page_step = plane.token_stride_bytes,
                  .chunk_step = plane.chunk_token_stride_bytes,
                  .part_bytes = static_cast<size_t>(row_bytes),
                  .tile_offset = static_cast<size_t>(token % kTileTokens * row_bytes),
                  .tile_step = static_cast<size_t>(row_bytes),
                  .count = static_cast<size_t>(count)};
  if (page == nullptr) {
    pieces_.push_back(row);
  } else if (rows && row.page_step == row_bytes && row.chunk_step == row_bytes) {
    pieces_.push_back(row);
    pieces_.back().part_bytes *= row.count;
    pieces_.back().count = 1;
  } else if (rows) {
    pieces_.push_back(row);
  } else {
    for (int64_t head = 0; head < plane.num_heads; ++head) {
      Piece& part = pieces_.emplace_back(row);
      part.page += head * plane.head_stride_bytes;
      part.chunk += head * plane.content_bytes;
      part.part_bytes = static_cast<size_t>(plane.content_bytes);
      part.tile_offset += static_cast<size_t>(head * plane.content_bytes);
    }
  }
}

void CopyBatch::collect_pieces(const PagedCopyPlane& plane, int64_t tile_in_plane) {
  const bool blocks_touch =
      plane.block_stride_bytes == plane.block_tokens * plane.token_stride_bytes;
  pieces_.clear();
  for (const TileSegment& segment : copy_.segments(plane.group, tile_in_plane)) {
    if (segment.slot < 0) {
      collect_span(plane, nullptr, segment.token, segment.count);
      continue;
    }
    std::byte* page = plane.pages + segment.block * plane.block_stride_bytes;
    int64_t in_block = segment.token_in_block;
    for (int64_t done = 0; done < segment.count;) {
      const int64_t left = segment.count - done;
      const int64_t count = blocks_touch ? left : std::min(left, plane.block_tokens - in_block);
      collect_span(plane, page + in_block * plane.token_stride_bytes, segment.token + done, count);
      done += count;
      page += plane.block_stride_bytes;
      in_block = 0;
    }
  }
}

void CopyBatch::add_tile(int64_t plane_index, int64_t tile_in_plane) {
  const PagedCopyPlane& plane = copy_.planes()[static_cast<size_t>(plane_index)];
  const auto tile_bytes =
      static_cast<size_t>(tile_token_count(tile_in_plane, copy_.num_tokens()) * plane.row_bytes());
  collect_pieces(plane, tile_in_plane);
  const size_t first_block = sums_.size();
  const size_t end_block = first_block + (tile_bytes + kXxh3BlockBytes - 1) / kXxh3BlockBytes;
  sums_.resize(end_block);
  tile_blocks_.push_back(end_block);
  bytes_ += tile_bytes;

  size_t odd = 0;
  for (const Piece& piece : pieces_) odd |= piece.part_bytes % kXxh3StripeBytes;
  if (odd != 0) return add_staged(first_block, tile_bytes);
  add_pieces(first_block);
  add_zeros(nullptr, first_block * kXxh3BlockStripes + tile_bytes / kXxh3StripeBytes,
            end_block * kXxh3BlockStripes);
}

void CopyBatch::add_pieces(size_t first_block) {
  const bool gathers = direction_ == CopyDirection::kGather;
  for (const Piece& piece : pieces_) {
    const size_t stripes = piece.part_bytes / kXxh3StripeBytes;
    const size_t step = piece.tile_step / kXxh3StripeBytes;
    const size_t first = first_block * kXxh3BlockStripes + piece.tile_offset / kXxh3StripeBytes;
    if (piece.page == nullptr && gathers) {
      for (size_t i = 0; i < piece.count; ++i) {
        add_zeros(piece.chunk + static_cast<int64_t>(i) * piece.chunk_step, first + i * step,
                  first + i * step + stripes);
      }
      continue;
    }
    CopyItem item{.from = gathers ? piece.page : piece.chunk,
                  .to = gathers ? piece.chunk : piece.page,
                  .from_step = gathers ? piece.page_step : piece.chunk_step,
                  .to_step = gathers ? piece.chunk_step : piece.page_step,
                  .stripe = static_cast<uint32_t>(first),
                  .stripe_step = static_cast<uint32_t>(step),
                  .last_block = static_cast<uint32_t>(sums_.size() - 1),
                  .num_parts = static_cast<uint16_t>(piece.count),
                  .num_stripes = static_cast<uint16_t>(stripes)};
    if (item.to == nullptr) item.to_step = 0;
    const bool in_blocks = kXxh3BlockStripes % stripes == 0 && first % stripes == 0 &&
                           (piece.count == 1 || step % stripes == 0);
    if (in_blocks) {
      push(item);
      continue;
    }
    for (size_t i = 0; i < piece.count; ++i) {
      add_contiguous(item, stripes);
      item.from += item.from_step;
      item.to += item.to_step;
      item.stripe += item.stripe_step;
    }
  }
}

void CopyBatch::push(const CopyItem& item) {
  if (item.to == nullptr) {
    hashes_.push_back(item);
  } else {
    destinations_ |= reinterpret_cast<uintptr_t>(item.to) | static_cast<uintptr_t>(item.to_step);
    copies_.push_back(item);
  }
}

// `stripes` in a row from where `start` says, cut at the tile's XXH3 blocks.
void CopyBatch::add_contiguous(const CopyItem& start, size_t stripes) {
  CopyItem item = start;
  item.from_step = kXxh3BlockBytes;
  item.to_step = item.to == nullptr ? 0 : int64_t{kXxh3BlockBytes};
  item.stripe_step = kXxh3BlockStripes;
  while (stripes > 0) {
    const size_t in_block = kXxh3BlockStripes - item.stripe % kXxh3BlockStripes;
    const bool whole = in_block == kXxh3BlockStripes && stripes >= kXxh3BlockStripes;
    const size_t parts = whole ? std::min(stripes / kXxh3BlockStripes, kItemBlocks) : 1;
    const size_t part_stripes = std::min(in_block, stripes);
    item.num_parts = static_cast<uint16_t>(parts);
    item.num_stripes = static_cast<uint16_t>(part_stripes);
    push(item);
    const size_t done = parts * part_stripes;
    item.from += done * kXxh3StripeBytes;
    if (item.to != nullptr) item.to += done * kXxh3StripeBytes;
    item.stripe += static_cast<uint32_t>(done);
    stripes -= done;
  }
}

// Stripes of zeros, written to `to` if it is not null.
void CopyBatch::add_zeros(std::byte* to, size_t stripe, size_t end_stripe) {
  while (stripe < end_stripe) {
    const size_t in_block = kXxh3BlockStripes - stripe % kXxh3BlockStripes;
    const size_t count = std::min(end_stripe - stripe, in_block);
    push({.from = kZeros.data(),
          .to = to,
          .stripe = static_cast<uint32_t>(stripe),
          .last_block = static_cast<uint32_t>(sums_.size() - 1),
          .num_stripes = static_cast<uint16_t>(count)});
    if (to != nullptr) to += count * kXxh3StripeBytes;
    stripe += count;
  }
}

// Builds the tile's logical bytes in cache while copying them piece by piece, to hash them there.
void CopyBatch::add_staged(size_t first_block, size_t tile_bytes) {
  const size_t padded_bytes = (sums_.size() - first_block) * kXxh3BlockBytes;
  if (stages_used_ == stages_.size()) stages_.emplace_back();
  std::vector<std::byte>& stage = stages_[stages_used_++];
  stage.resize(padded_bytes);
  for (const Piece& piece : pieces_) {
    for (size_t i = 0; i < piece.count; ++i) {
      std::byte* chunk = piece.chunk + static_cast<int64_t>(i) * piece.chunk_step;
      std::byte* staged = stage.data() + piece.tile_offset + i * piece.tile_step;
      std::byte* page =
          piece.page == nullptr ? nullptr : piece.page + static_cast<int64_t>(i) * piece.page_step;
      if (direction_ == CopyDirection::kScatter) {
        std::memcpy(staged, chunk, piece.part_bytes);
        if (page != nullptr) std::memcpy(page, chunk, piece.part_bytes);
        continue;
      }
      if (page != nullptr) std::memcpy(staged, page, piece.part_bytes);
      if (page == nullptr) std::memset(staged, 0, piece.part_bytes);
      std::memcpy(chunk, staged, piece.part_bytes);
    }
  }
  std::memset(stage.data() + tile_bytes, 0, padded_bytes - tile_bytes);
  add_contiguous({.from = stage.data(),
                  .to = nullptr,
                  .stripe = static_cast<uint32_t>(first_block * kXxh3BlockStripes),
                  .last_block = static_cast<uint32_t>(sums_.size() - 1)},
                 padded_bytes / kXxh3StripeBytes);
}

}  // namespace kvferry
