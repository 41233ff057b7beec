#include <algorithm>
#include <array>

#include "runtime/control/messages.h"
#include "runtime/transfer/chunk_transfer.h"

namespace kvferry {
namespace {

/// A fragment of more planes than max_planes, with which the header would not fit, would be larger
/// than so many of the smallest.
int64_t fit_planes(int64_t smallest_plane_bytes, int64_t target_bytes, size_t max_header_bytes,
                   int64_t num_tokens) {
  const size_t fixed_bytes = fragment_header_bytes(0);
  const auto max_tiles =
      static_cast<int64_t>((max_header_bytes - std::min(max_header_bytes, fixed_bytes)) / 8);
  const int64_t max_planes = max_tiles / std::max<int64_t>(1, tiles_of_tokens(num_tokens));
  return std::clamp<int64_t>(max_planes * smallest_plane_bytes, 1,
                             std::max<int64_t>(1, target_bytes));
}

}  // namespace

Result<ChunkPlan> plan_chunk(const ChunkRef& ref, const PagedChunk& pages, int64_t fragment_bytes,
                             Device device) {
  if (pages.layout == nullptr) {
    return make_error(StatusCode::kInvalidArgument, "a paged chunk has no layout");
  }
  if (!(pages.layout->device == device)) {
    return make_error(StatusCode::kInvalidArgument,
                      "the pages lie on " + device_name(pages.layout->device) +
                          ", the engine copies on " + device_name(device) +
                          "; set TransferEngineOptions.device");
  }
  if (static_cast<int64_t>(pages.slots.size()) != ref.num_tokens()) {
    return make_error(StatusCode::kInvalidArgument,
                      "chunk " + ref.key.to_string() + " has " + std::to_string(ref.num_tokens()) +
                          " tokens but " + std::to_string(pages.slots.size()) + " slots");
  }
  KVFERRY_ASSIGN_OR_RETURN(ChunkLayout layout, make_chunk_layout(MemoryFormat::kKvL2TD,
                                                                 *pages.layout, ref.num_tokens()));
  KVFERRY_ASSIGN_OR_RETURN(std::vector<Fragment> fragments,
                           split_fragments(layout, fragment_bytes));
  const std::array<SlotMapping, 1> slots = {SlotMapping(pages.slots)};
  KVFERRY_ASSIGN_OR_RETURN(PagedCopy copy, PagedCopy::create(*pages.layout, layout, slots));
  const ChunkIdentity identity{ref.key.digest(), ref.token_begin, ref.token_end,
                               layout_digest(layout)};
  return ChunkPlan{ref,        std::move(layout), identity, std::move(fragments), std::move(copy),
                   pages.after};
}

ChunkPlan plan_object(const CacheEngineKey& key, const MemoryObj& obj, int64_t fragment_bytes) {
  const ChunkLayout& layout = obj.layout;
  const Fragment whole{.plane_begin = 0,
                       .plane_end = static_cast<int32_t>(layout.planes.size()),
                       .offset_bytes = 0,
                       .size_bytes = layout.size_bytes};
  return {.ref = {key, obj.token_begin, obj.token_end},
          .layout = layout,
          .identity = {key.digest(), obj.token_begin, obj.token_end, layout_digest(layout)},
          .fragments = split_fragments(layout, fragment_bytes).value_or(std::vector{whole}),
          .copy = std::nullopt,
          .after = nullptr};
}

int64_t fit_fragment_bytes(const KVLayout& pages, int64_t target_bytes, size_t max_header_bytes,
                           int64_t num_tokens) {
  int64_t plane_bytes = target_bytes;
  for (const KVGroup& group : pages.groups) {
    for (const KVPlane& plane : group.planes) {
      plane_bytes = std::min(plane_bytes, plane.row_bytes() * num_tokens);
    }
  }
  return fit_planes(plane_bytes, target_bytes, max_header_bytes, num_tokens);
}

int64_t fit_fragment_bytes(const ChunkLayout& layout, int64_t target_bytes,
                           size_t max_header_bytes) {
  int64_t plane_bytes = target_bytes;
  for (const ChunkPlane& plane : layout.planes) {
    plane_bytes = std::min(plane_bytes, plane.row_bytes * layout.num_tokens);
  }
  return fit_planes(plane_bytes, target_bytes, max_header_bytes, layout.num_tokens);
}

}  // namespace kvferry
