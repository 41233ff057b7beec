#include <algorithm>

#include "kernels/copy_batch.h"
#include "kernels/copy_loop.h"
#include "kernels/paged_copy.h"

namespace kvferry {
namespace {

constexpr size_t kBatchBytes = size_t{128} << 10;

struct CopyCall {
  const PagedCopy& copy;
  CopyDirection direction;
  std::byte* chunk;
  int32_t plane_begin;
  std::span<uint64_t> digests;
  bool streaming;
  const CopyLoop& loop;

  void run_tiles(int64_t begin, int64_t end) const {
    // The next batch is laid out before this one runs, so that prefetches reach into it.
    CopyBatch batches[2] = {{copy, direction, chunk}, {copy, direction, chunk}};
    int64_t filled = fill(&batches[0], begin, end);
    for (size_t i = 0; begin < end; ++i) {
      CopyBatch* batch = &batches[i % 2];
      CopyBatch* upcoming = &batches[(i + 1) % 2];
      const int64_t first = begin;
      begin = filled;
      filled = fill(upcoming, begin, end);
      run_batch(batch, upcoming->copies(), first);
    }
    if (streaming) loop.fence();
  }

  // Lays out tiles from `begin` on; returns the first that is left.
  int64_t fill(CopyBatch* batch, int64_t begin, int64_t end) const {
    batch->clear();
    int64_t tile = begin;
    for (; tile < end && batch->bytes() < kBatchBytes; ++tile) {
      batch->add_tile(plane_begin + tile / copy.tiles_per_plane(), tile % copy.tiles_per_plane());
    }
    return tile;
  }

  void run_batch(CopyBatch* batch, std::span<const CopyItem> upcoming, int64_t first_tile) const {
    const bool digest = !digests.empty();
    loop.copy[streaming && batch->is_aligned()][digest](batch->copies(), upcoming, batch->sums());
    if (!digest) return;
    loop.hash(batch->hashes(), {}, batch->sums());
    loop.fold(batch->sums(), batch->tile_blocks(),
              digests.subspan(static_cast<size_t>(first_tile), batch->num_tiles()));
  }
};

void run(const CopyCall& call, int64_t num_tiles, ParallelFor* parallel) {
  const int64_t parts = parallel == nullptr ? 1
                                            : std::clamp<int64_t>(parallel->width(), 1,
                                                                  std::max<int64_t>(num_tiles, 1));
  if (parts == 1) return call.run_tiles(0, num_tiles);
  parallel->run(static_cast<int32_t>(parts), [&](int32_t part) {
    call.run_tiles(num_tiles * part / parts, num_tiles * (part + 1) / parts);
  });
}

}  // namespace

Status gather(const PagedCopy& copy, int32_t plane_begin, int32_t plane_end,
              std::span<std::byte> chunk, std::span<uint64_t> tile_digests,
              HostCopyOptions options) {
  KVFERRY_RETURN_IF_ERROR(
      copy.check_call(Device::host(), plane_begin, plane_end, chunk.size(), tile_digests.size()));
  run({copy, CopyDirection::kGather, chunk.data(), plane_begin, tile_digests,
       options.store == StoreHint::kStreaming, copy_loop(options.simd)},
      (plane_end - plane_begin) * copy.tiles_per_plane(), options.parallel);
  return Status();
}

Status scatter(const PagedCopy& copy, int32_t plane_begin, int32_t plane_end,
               std::span<const std::byte> chunk, std::span<uint64_t> tile_digests,
               HostCopyOptions options) {
  KVFERRY_RETURN_IF_ERROR(
      copy.check_call(Device::host(), plane_begin, plane_end, chunk.size(), tile_digests.size()));
  // Items carry writable chunk pointers for both directions; scatter only reads through them.
  auto* bytes = const_cast<std::byte*>(chunk.data());
  run({copy, CopyDirection::kScatter, bytes, plane_begin, tile_digests,
       options.store == StoreHint::kStreaming, copy_loop(options.simd)},
      (plane_end - plane_begin) * copy.tiles_per_plane(), options.parallel);
  return Status();
}

}  // namespace kvferry
