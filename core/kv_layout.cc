#include "kvferry/kv_layout.h"

#include <string>

#include "core/checked_math.h"

namespace kvferry {
namespace {

using detail::CheckedMath;

/// Byte counts of a paged shape, from the inside out; zeros where anything is out of bounds.
struct PageSizes {
  int64_t head = 0;   ///< one token of one head
  int64_t row = 0;    ///< one token of all heads
  int64_t block = 0;  ///< one block of one role of one layer
  int64_t pool = 0;   ///< all blocks of one role of one layer
  int64_t total = 0;  ///< the whole cache
};

int64_t roles_per_layer(PagePreset preset) { return preset == PagePreset::kMla ? 1 : 2; }

PageSizes page_sizes(PagePreset preset, const PagedShape& shape) {
  const bool positive = shape.num_layers > 0 && shape.num_blocks > 0 && shape.block_tokens > 0 &&
                        shape.num_heads > 0 && shape.head_dim > 0;
  if (!positive) return {};
  CheckedMath math;
  PageSizes sizes;
  sizes.head = math.mul(shape.head_dim, dtype_size(shape.dtype));
  sizes.row = math.mul(sizes.head, shape.num_heads);
  sizes.block = math.mul(sizes.row, shape.block_tokens);
  sizes.pool = math.mul(sizes.block, shape.num_blocks);
  sizes.total = math.mul(sizes.pool, math.mul(shape.num_layers, roles_per_layer(preset)));
  return math.is_ok() ? sizes : PageSizes{};
}

Status check_shape(PagePreset preset, const PagedShape& shape, size_t num_given_buffers) {
  const auto refuse = [&](std::string what) {
    return Status(StatusCode::kInvalidArgument,
                  std::string(page_preset_name(preset)) + " cache: " + std::move(what));
  };
  if (page_sizes(preset, shape).total == 0) {
    return refuse("a field of the shape is not positive, or its bytes pass 2^62 (layers " +
                  std::to_string(shape.num_layers) + ", blocks " +
                  std::to_string(shape.num_blocks) + ", block_tokens " +
                  std::to_string(shape.block_tokens) + ", heads " +
                  std::to_string(shape.num_heads) + ", head_dim " + std::to_string(shape.head_dim) +
                  ", dtype " + std::string(dtype_name(shape.dtype)) + ")");
  }
  if (preset == PagePreset::kMla && shape.num_heads != 1) {
    return refuse("num_heads is " + std::to_string(shape.num_heads) + "; a latent has 1 head");
  }
  const auto expected = static_cast<size_t>(num_buffers(preset, shape));
  if (num_given_buffers != expected) {
    return refuse("got " + std::to_string(num_given_buffers) + " buffers; it consists of " +
                  std::to_string(expected));
  }
  return Status();
}

/// Where a layer's planes start and how far apart its blocks are, by preset.
struct Placement {
  int64_t key_offset = 0;  ///< from the start of the layer's buffer
  int64_t value_offset = 0;
  int64_t block_stride = 0;
};

Placement place_layer(PagePreset preset, const PagedShape& shape, const PageSizes& sizes,
                      int32_t layer) {
  switch (preset) {
    case PagePreset::kVllmNhd:
    case PagePreset::kVllmHnd:
      return {0, sizes.pool, sizes.block};
    case PagePreset::kFlashInfer:
      return {0, sizes.block, 2 * sizes.block};
    case PagePreset::kCrossLayer: {
      const int64_t start = 2 * layer * sizes.block;
      return {start, start + sizes.block, 2 * shape.num_layers * sizes.block};
    }
    case PagePreset::kMla:
      return {0, 0, sizes.block};
  }
  return {};
}

KVPlane make_plane(PagePreset preset, const PagedShape& shape, const PageSizes& sizes) {
  const bool heads_outside = preset == PagePreset::kVllmHnd;
  KVPlane plane;
  plane.token_stride_bytes = heads_outside ? sizes.head : sizes.row;
  plane.head_stride_bytes = heads_outside ? sizes.head * shape.block_tokens : sizes.head;
  plane.num_heads = shape.num_heads;
  plane.content_bytes = sizes.head;
  return plane;
}

}  // namespace

int64_t KVLayout::num_planes() const {
  int64_t count = 0;
  for (const KVGroup& group : groups) count += static_cast<int64_t>(group.planes.size());
  return count;
}

int64_t KVLayout::token_bytes() const {
  int64_t bytes = 0;
  for (const KVGroup& group : groups) {
    for (const KVPlane& plane : group.planes) bytes += plane.row_bytes();
  }
  return bytes;
}

std::string_view page_preset_name(PagePreset preset) {
  switch (preset) {
    case PagePreset::kVllmNhd:
      return "vllm_nhd";
    case PagePreset::kVllmHnd:
      return "vllm_hnd";
    case PagePreset::kFlashInfer:
      return "flashinfer";
    case PagePreset::kCrossLayer:
      return "cross_layer";
    case PagePreset::kMla:
      return "mla";
  }
  return "unknown";
}

int32_t num_buffers(PagePreset preset, const PagedShape& shape) {
  return preset == PagePreset::kCrossLayer ? 1 : shape.num_layers;
}

int64_t buffer_bytes(PagePreset preset, const PagedShape& shape) {
  const int64_t total = page_sizes(preset, shape).total;
  return total == 0 ? 0 : total / num_buffers(preset, shape);
}

Result<KVLayout> make_kv_layout(PagePreset preset, const PagedShape& shape,
                                std::span<std::byte* const> buffers) {
  KVFERRY_RETURN_IF_ERROR(check_shape(preset, shape, buffers.size()));
  const PageSizes sizes = page_sizes(preset, shape);
  const auto at = [](std::byte* buffer, int64_t offset) {
    return buffer == nullptr ? nullptr : buffer + offset;
  };
  KVGroup group;
  group.block_tokens = shape.block_tokens;
  group.num_blocks = shape.num_blocks;
  KVPlane plane = make_plane(preset, shape, sizes);
  for (int32_t layer = 0; layer < shape.num_layers; ++layer) {
    const Placement placement = place_layer(preset, shape, sizes, layer);
    std::byte* buffer = buffers[buffers.size() == 1 ? 0 : static_cast<size_t>(layer)];
    plane.layer = layer;
    plane.block_stride_bytes = placement.block_stride;
    plane.role = preset == PagePreset::kMla ? KVRole::kLatent : KVRole::kKey;
    plane.base = at(buffer, placement.key_offset);
    group.planes.push_back(plane);
    if (preset == PagePreset::kMla) continue;
    plane.role = KVRole::kValue;
    plane.base = at(buffer, placement.value_offset);
    group.planes.push_back(plane);
  }
  KVLayout layout;
  layout.dtype = shape.dtype;
  layout.heads = {shape.num_heads, 0, shape.num_heads};
  layout.groups.push_back(std::move(group));
  KVFERRY_RETURN_IF_ERROR(validate(layout));
  return layout;
}

}  // namespace kvferry
