#include "kernels/copy_batch.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace kvferry {
namespace {

constexpr uint32_t kItemStripes = 64;

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

void CopyBatch::collect_span(const PagedCopyPlane& plane, std::byte* page, std::byte* chunk,
                             int64_t count) {
  const bool rows = plane.num_heads == 1 || plane.head_stride_bytes == plane.content_bytes;
  if (rows && plane.token_stride_bytes == plane.row_bytes() &&
      plane.chunk_token_stride_bytes == plane.row_bytes()) {
    pieces_.push_back({page, chunk, static_cast<size_t>(count * plane.row_bytes())});
    return;
  }
  const int64_t parts = rows ? 1 : plane.num_heads;
  const int64_t part_bytes = rows ? plane.row_bytes() : plane.content_bytes;
  for (int64_t token = 0; token < count; ++token) {
    for (int64_t part = 0; part < parts; ++part) {
      pieces_.push_back({page + token * plane.token_stride_bytes + part * plane.head_stride_bytes,
                         chunk + token * plane.chunk_token_stride_bytes + part * part_bytes,
                         static_cast<size_t>(part_bytes)});
    }
  }
}

// The tile's pieces, in the order of its logical bytes [token][head][content].
void CopyBatch::collect_pieces(const PagedCopyPlane& plane, int64_t tile_in_plane) {
  const bool blocks_touch =
      plane.block_stride_bytes == plane.block_tokens * plane.token_stride_bytes;
  pieces_.clear();
  for (const TileSegment& segment : copy_.segments(plane.group, tile_in_plane)) {
    std::byte* chunk = chunk_ + chunk_offset(plane, segment.token);
    for (int64_t done = 0; done < segment.count;) {
      std::byte* out = chunk + done * plane.chunk_token_stride_bytes;
      if (segment.slot < 0) {
        pieces_.push_back({nullptr, out, static_cast<size_t>(plane.row_bytes())});
        ++done;
        continue;
      }
      const int64_t slot = segment.slot + done;
      const int64_t left = segment.count - done;
      const int64_t in_block = plane.block_tokens - slot % plane.block_tokens;
      const int64_t count = blocks_touch ? left : std::min(left, in_block);
      collect_span(plane, plane.pages + page_offset(plane, slot, 0), out, count);
      done += count;
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
  for (const Piece& piece : pieces_) odd |= piece.bytes % kXxh3StripeBytes;
  if (odd != 0) return add_staged(first_block);
  add_pieces(first_block);
  const size_t stripes = (tile_bytes + kXxh3StripeBytes - 1) / kXxh3StripeBytes;
  add_zeros(nullptr, first_block * kXxh3BlockStripes + stripes, end_block * kXxh3BlockStripes);
}

void CopyBatch::add_pieces(size_t first_block) {
  const bool gathers = direction_ == CopyDirection::kGather;
  const auto last_block = static_cast<uint32_t>(sums_.size() - 1);
  size_t stripe = first_block * kXxh3BlockStripes;
  for (const Piece& piece : pieces_) {
    const size_t stripes = piece.bytes / kXxh3StripeBytes;
    CopyItem item{.from = gathers ? piece.page : piece.chunk,
                  .to = gathers ? piece.chunk : piece.page,
                  .num_stripes = static_cast<uint32_t>(stripes),
                  .stripe = static_cast<uint32_t>(stripe),
                  .last_block = last_block};
    if (piece.page != nullptr) {
      add_copies(item);
    } else if (gathers) {
      add_zeros(piece.chunk, stripe, stripe + stripes);
    } else {
      hashes_.push_back(item);
    }
    stripe += stripes;
  }
}

// Builds the tile's logical bytes in cache, writing what goes to odd places on the way.
void CopyBatch::add_staged(size_t first_block) {
  const size_t tile_bytes = (sums_.size() - first_block) * kXxh3BlockBytes;
  if (stages_used_ == stages_.size()) stages_.emplace_back();
  std::vector<std::byte>& stage = stages_[stages_used_++];
  stage.resize(tile_bytes);
  std::byte* out = stage.data();
  for (const Piece& piece : pieces_) {
    if (direction_ == CopyDirection::kScatter) {
      std::memcpy(out, piece.chunk, piece.bytes);
      if (piece.page != nullptr) std::memcpy(piece.page, piece.chunk, piece.bytes);
    } else {
      if (piece.page != nullptr) std::memcpy(out, piece.page, piece.bytes);
      if (piece.page == nullptr) std::memset(out, 0, piece.bytes);
      std::memcpy(piece.chunk, out, piece.bytes);
    }
    out += piece.bytes;
  }
  std::memset(out, 0, static_cast<size_t>(stage.data() + tile_bytes - out));
  hashes_.push_back({.from = stage.data(),
                     .to = nullptr,
                     .num_stripes = static_cast<uint32_t>(tile_bytes / kXxh3StripeBytes),
                     .stripe = static_cast<uint32_t>(first_block * kXxh3BlockStripes),
                     .last_block = static_cast<uint32_t>(sums_.size() - 1)});
}

void CopyBatch::add_copies(const CopyItem& item) {
  destinations_ |= reinterpret_cast<uintptr_t>(item.to);
  for (uint32_t done = 0; done < item.num_stripes; done += kItemStripes) {
    const size_t offset = done * kXxh3StripeBytes;
    copies_.push_back({item.from + offset, item.to + offset,
                       std::min(kItemStripes, item.num_stripes - done), item.stripe + done,
                       item.last_block});
  }
}

// Stripes of zeros, written to `to` if it is not null.
void CopyBatch::add_zeros(std::byte* to, size_t stripe, size_t end_stripe) {
  const auto last_block = static_cast<uint32_t>(sums_.size() - 1);
  while (stripe < end_stripe) {
    const size_t count = std::min(end_stripe - stripe, kXxh3BlockStripes);
    const CopyItem item{kZeros.data(), to, static_cast<uint32_t>(count),
                        static_cast<uint32_t>(stripe), last_block};
    if (to == nullptr) {
      hashes_.push_back(item);
    } else {
      add_copies(item);
      to += count * kXxh3StripeBytes;
    }
    stripe += count;
  }
}

}  // namespace kvferry
