#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "cuda/host/cpu_features.h"
#include "kernels/kv_page_map.h"
#include "kvferry/chunk_layout.h"
#include "kvferry/kv_layout.h"
#include "kvferry/slot_mapping.h"
#include "kvferry/status.h"

namespace kvferry {

/// Tokens of one tile that lie in consecutive slots; slot < 0: skipped tokens.
struct TileSegment {
  int32_t token = 0;  ///< first token, in the chunk
  int32_t count = 0;
  int64_t slot = 0;
  int64_t block = 0;  ///< of `slot`
  int64_t token_in_block = 0;
};

/// What it takes to copy one chunk between an engine's pages and contiguous memory: validated once,
/// slot runs merged once, then used for every fragment, in either direction.
///
/// Layout:  any strides and alignment; negative slot = skip
/// Threads: immutable; gather and scatter of disjoint planes from several threads at once
/// Owner:   copies layouts and slots; the pages themselves stay the engine's
/// Cost:    create O(tokens of one layer + planes), not O(blocks x layers)
class PagedCopy {
 public:
  /// `slots_per_group` holds, for each group of `pages`, the slots of the chunk's tokens. Two
  /// tokens must not name the same slot when the copy is used to scatter.
  ///
  /// Errors: kInvalidArgument if a count is wrong, a layout is invalid, or the layouts do not
  ///   describe the same planes, heads and contents; kOutOfRange if a slot lies past its group.
  static Result<PagedCopy> create(const KVLayout& pages, const ChunkLayout& chunk,
                                  std::span<const SlotMapping> slots_per_group);

  /// Whose memory the pages lie in.
  Device device() const { return device_; }
  int32_t num_planes() const { return static_cast<int32_t>(planes_.size()); }
  int64_t num_tokens() const { return num_tokens_; }
  int64_t tiles_per_plane() const { return tiles_of_tokens(num_tokens_); }
  size_t chunk_bytes() const { return chunk_bytes_; }

  std::span<const PagedCopyPlane> planes() const { return planes_; }
  /// Slots of all groups, [group][token]: what a kernel reads from device memory.
  std::span<const int64_t> slots() const { return slots_; }
  /// Segments that cover a tile of a group's planes, in token order.
  std::span<const TileSegment> segments(int32_t group, int64_t tile_in_plane) const;
  /// Largest of 16, 8, 4, 2, 1 that divides every page address, stride and content.
  int32_t alignment() const { return alignment_; }

  /// Whether planes [plane_begin, plane_end) can be copied by `device`, between pages and a chunk
  /// of `chunk_bytes`, with so many digests: one per tile, or none.
  /// Errors: kInvalidArgument, saying what does not fit
  Status check_call(Device device, int32_t plane_begin, int32_t plane_end, size_t chunk_bytes,
                    size_t num_digests) const;

 private:
  struct GroupSegments {
    std::vector<TileSegment> segments;
    std::vector<size_t> tile_begin;  // one more than there are tiles
  };

  PagedCopy() = default;
  void add_group(int32_t block_tokens, SlotMapping slots, std::span<const SlotRun> runs);

  std::vector<PagedCopyPlane> planes_;
  std::vector<GroupSegments> groups_;
  std::vector<int64_t> slots_;
  int64_t num_tokens_ = 0;
  size_t chunk_bytes_ = 0;
  int32_t alignment_ = 1;
  Device device_;
};

/// Threads lent by the caller; nothing in kernels/ starts one.
class ParallelFor {
 public:
  virtual ~ParallelFor() = default;
  /// Parts that run at the same time, at least 1.
  virtual int32_t width() const = 0;
  /// Calls part(0) .. part(parts - 1), in any order and on any thread, and waits for all.
  virtual void run(int32_t parts, const std::function<void(int32_t)>& part) = 0;
};

/// What becomes of the destination.
enum class StoreHint : uint8_t {
  kStreaming,  ///< not read soon: bypass the cache
  kCached,     ///< read soon: leave it there
};

struct HostCopyOptions {
  StoreHint store = StoreHint::kStreaming;
  ParallelFor* parallel = nullptr;     ///< null: all on the caller's thread
  SimdLevel simd = best_simd_level();  ///< a weaker one for tests and measurements
};

/// Copies planes [plane_begin, plane_end) from the pages into `chunk` and writes the digests of
/// their tiles, in tile order. Skipped tokens become zeros.
///
/// Layout:  `chunk` is the whole chunk; streaming stores need it 64-byte aligned, else they are
///   ordinary ones. Bytes of other planes are neither read nor written.
/// Errors:  kInvalidArgument if planes or span sizes do not fit, or the pages are not the host's,
///   nothing written. An empty `tile_digests` computes none: for measurements only.
Status gather(const PagedCopy& copy, int32_t plane_begin, int32_t plane_end,
              std::span<std::byte> chunk, std::span<uint64_t> tile_digests,
              HostCopyOptions options = {});

/// Copies planes [plane_begin, plane_end) from `chunk` into the pages; skipped tokens are not
/// written. Writes the digests of the bytes that it read, so that they can be compared with the
/// expected ones before the slots are published.
///
/// Errors: as gather.
Status scatter(const PagedCopy& copy, int32_t plane_begin, int32_t plane_end,
               std::span<const std::byte> chunk, std::span<uint64_t> tile_digests,
               HostCopyOptions options = {});

}  // namespace kvferry
