#include <algorithm>
#include <string>

#include "kernels/paged_copy.h"
#include "kernels/tile_copy.h"
#include "kernels/tile_pieces.h"

namespace kvferry {
namespace {

Status check_call(const PagedCopy& copy, int32_t plane_begin, int32_t plane_end, size_t chunk_bytes,
                  size_t num_digests) {
  if (plane_begin < 0 || plane_end < plane_begin || plane_end > copy.num_planes()) {
    return Status(StatusCode::kInvalidArgument,
                  "planes [" + std::to_string(plane_begin) + ", " + std::to_string(plane_end) +
                      ") asked for; the copy has " + std::to_string(copy.num_planes()));
  }
  if (chunk_bytes != copy.chunk_bytes()) {
    return Status(StatusCode::kInvalidArgument,
                  "chunk span of " + std::to_string(chunk_bytes) + " bytes given, the chunk has " +
                      std::to_string(copy.chunk_bytes()));
  }
  const int64_t tiles = (plane_end - plane_begin) * copy.tiles_per_plane();
  if (num_digests != 0 && std::cmp_not_equal(num_digests, tiles)) {
    return Status(StatusCode::kInvalidArgument, std::to_string(num_digests) +
                                                    " digests given for " + std::to_string(tiles) +
                                                    " tiles; give one each, or none");
  }
  return Status();
}

using TileFunction = uint64_t (*)(const TileJob&);

struct CopyCall {
  const PagedCopy& copy;
  std::byte* chunk;
  int32_t plane_begin;
  std::span<uint64_t> digests;
  bool streaming;
  TileFunction copy_tile;
  void (*fence)();

  void run_tiles(int64_t begin, int64_t end) const {
    TileWindow window(copy, chunk, plane_begin, begin, end, kPrefetchBytes);
    while (window.next()) {
      const uint64_t digest = copy_tile({.pieces = window.pieces(),
                                         .ahead = window.ahead(),
                                         .streaming = streaming,
                                         .digest = !digests.empty()});
      if (!digests.empty()) digests[static_cast<size_t>(window.tile())] = digest;
    }
    if (streaming) fence();
  }
};

void run(const CopyCall& call, int64_t num_tiles, ParallelFor* parallel) {
  const int64_t parts =
      parallel == nullptr ? 1 : std::clamp<int64_t>(parallel->width(), 1, std::max<int64_t>(num_tiles, 1));
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
      check_call(copy, plane_begin, plane_end, chunk.size(), tile_digests.size()));
  const TileCopier& copier = tile_copier(best_simd_level());
  run({copy, chunk.data(), plane_begin, tile_digests, options.store == StoreHint::kStreaming,
       copier.gather, copier.fence},
      (plane_end - plane_begin) * copy.tiles_per_plane(), options.parallel);
  return Status();
}

Status scatter(const PagedCopy& copy, int32_t plane_begin, int32_t plane_end,
               std::span<const std::byte> chunk, std::span<uint64_t> tile_digests,
               HostCopyOptions options) {
  KVFERRY_RETURN_IF_ERROR(
      check_call(copy, plane_begin, plane_end, chunk.size(), tile_digests.size()));
  const TileCopier& copier = tile_copier(best_simd_level());
  // Pieces carry writable chunk pointers for both directions; scatter only reads through them.
  auto* bytes = const_cast<std::byte*>(chunk.data());
  run({copy, bytes, plane_begin, tile_digests, options.store == StoreHint::kStreaming,
       copier.scatter, copier.fence},
      (plane_end - plane_begin) * copy.tiles_per_plane(), options.parallel);
  return Status();
}

}  // namespace kvferry
