#include "kvferry/chunk_layout.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "core/checked_math.h"

namespace kvferry {
namespace {

using detail::CheckedMath;

Status refuse(const std::string& what) {
  return Status(StatusCode::kInvalidArgument, "chunk layout: " + what);
}

bool same_layer(const ChunkPlane& a, const ChunkPlane& b) {
  return a.group == b.group && a.layer == b.layer;
}

Status check_plane(const ChunkLayout& layout, size_t index) {
  const ChunkPlane& plane = layout.planes[index];
  const std::string where = "plane " + std::to_string(index);
  if (plane.group < 0 || plane.layer < 0) return refuse(where + " has a negative group or layer");
  if (plane.role > KVRole::kLatent) return refuse(where + " has an unknown role");
  if (plane.row_bytes < 1) {
    return refuse(where + " has row_bytes " + std::to_string(plane.row_bytes) + "; must be > 0");
  }
  if (index == 0) return Status();
  const ChunkPlane& before = layout.planes[index - 1];
  const bool ordered = std::tie(before.group, before.layer, before.role) <
                       std::tie(plane.group, plane.layer, plane.role);
  return ordered ? Status() : refuse(where + " is out of order (group, layer, role) or double");
}

/// Everything but the format: what any chunk must satisfy before sizes are computed.
Status check_fields(const ChunkLayout& layout) {
  if (dtype_size(layout.dtype) == 0) return refuse("dtype is unknown");
  const HeadRange& heads = layout.heads;
  const bool heads_fit = heads.begin >= 0 && heads.count > 0 && heads.begin < heads.global_heads &&
                         heads.count <= heads.global_heads - heads.begin;
  if (!heads_fit) return refuse("heads are no range of the model's heads");
  if (layout.num_tokens < 1) {
    return refuse("num_tokens is " + std::to_string(layout.num_tokens) + "; must be > 0");
  }
  if (layout.planes.empty() || layout.planes.size() > kMaxChunkPlanes) {
    return refuse(std::to_string(layout.planes.size()) + " planes; a chunk has 1 to " +
                  std::to_string(kMaxChunkPlanes));
  }
  for (size_t i = 0; i < layout.planes.size(); ++i) {
    KVFERRY_RETURN_IF_ERROR(check_plane(layout, i));
  }
  return Status();
}

bool rows_are_equal(const std::vector<ChunkPlane>& planes) {
  return std::all_of(planes.begin(), planes.end(), [&](const ChunkPlane& plane) {
    return plane.row_bytes == planes.front().row_bytes;
  });
}

/// True when the planes are K and V of each layer and nothing else.
bool are_key_value_pairs(const std::vector<ChunkPlane>& planes) {
  if (planes.size() % 2 != 0) return false;
  for (size_t i = 0; i < planes.size(); i += 2) {
    const bool pair = planes[i].role == KVRole::kKey && planes[i + 1].role == KVRole::kValue &&
                      same_layer(planes[i], planes[i + 1]);
    if (!pair) return false;
  }
  return true;
}

Status check_format(const ChunkLayout& layout) {
  const std::vector<ChunkPlane>& planes = layout.planes;
  const std::string name(memory_format_name(layout.format));
  switch (layout.format) {
    case MemoryFormat::kKvL2TD:
      return Status();
    case MemoryFormat::kKvMla: {
      const bool latents = std::all_of(planes.begin(), planes.end(), [](const ChunkPlane& plane) {
        return plane.role == KVRole::kLatent;
      });
      if (!latents) return refuse(name + " takes latents only; use KV_L2TD for K and V");
      break;
    }
    case MemoryFormat::kKvT2D:
    case MemoryFormat::kKv2TD:
    case MemoryFormat::kKv2LTD:
      if (!are_key_value_pairs(planes)) {
        return refuse(name + " takes K and V of each layer and nothing else; use KV_L2TD");
      }
      if (layout.format != MemoryFormat::kKv2LTD && planes.size() != 2) {
        return refuse(name + " takes one layer, not " + std::to_string(planes.size() / 2));
      }
      break;
    default:
      return refuse("format is unknown");
  }
  return rows_are_equal(planes) ? Status() : refuse(name + " takes planes of equal row_bytes");
}

/// Offset of plane `index` in a chunk whose planes all take `plane_bytes`.
int64_t equal_plane_offset(const ChunkLayout& layout, size_t index, int64_t plane_bytes) {
  const auto position = static_cast<int64_t>(index);
  switch (layout.format) {
    case MemoryFormat::kKvT2D:
      return position * layout.planes[index].row_bytes;
    case MemoryFormat::kKv2LTD: {
      const auto num_layers = static_cast<int64_t>(layout.planes.size() / 2);
      return ((position % 2) * num_layers + position / 2) * plane_bytes;
    }
    default:
      return position * plane_bytes;
  }
}

/// Plane `index` of a layout that may be hand-made: its rows must lie inside size_bytes.
Status check_inside(const ChunkLayout& layout, size_t index) {
  const ChunkPlane& plane = layout.planes[index];
  CheckedMath math;
  const int64_t last = math.mul(plane.token_stride_bytes, layout.num_tokens - 1);
  const int64_t end = math.add(math.add(plane.offset_bytes, last), plane.row_bytes);
  const bool inside =
      math.is_ok() && end <= layout.size_bytes && plane.token_stride_bytes >= plane.row_bytes;
  return inside ? Status()
                : refuse("plane " + std::to_string(index) + " lies outside the chunk's " +
                         std::to_string(layout.size_bytes) + " bytes");
}

/// The fragment of the layer that starts at plane `begin`; it is contiguous, or an error.
Result<Fragment> layer_fragment(const ChunkLayout& layout, size_t begin) {
  size_t end = begin;
  int64_t low = layout.size_bytes;
  int64_t high = 0;
  CheckedMath math;
  int64_t bytes = 0;
  for (; end < layout.planes.size() && same_layer(layout.planes[begin], layout.planes[end]);
       ++end) {
    const ChunkPlane& plane = layout.planes[end];
    KVFERRY_RETURN_IF_ERROR(check_inside(layout, end));
    const int64_t last_row = plane.token_stride_bytes * (layout.num_tokens - 1);
    low = std::min(low, plane.offset_bytes);
    high = std::max(high, plane.offset_bytes + last_row + plane.row_bytes);
    bytes = math.add(bytes, math.mul(plane.row_bytes, layout.num_tokens));
  }
  if (!math.is_ok() || high - low != bytes) {
    return make_error(refuse(std::string(memory_format_name(layout.format)) +
                             " does not keep layer " + std::to_string(layout.planes[begin].layer) +
                             " contiguous; gather into KV_L2TD to send fragments"));
  }
  return Fragment{static_cast<int32_t>(begin), static_cast<int32_t>(end), low, bytes};
}

}  // namespace

std::string_view memory_format_name(MemoryFormat format) {
  switch (format) {
    case MemoryFormat::kKv2LTD:
      return "KV_2LTD";
    case MemoryFormat::kKvT2D:
      return "KV_T2D";
    case MemoryFormat::kKv2TD:
      return "KV_2TD";
    case MemoryFormat::kKvMla:
      return "KV_MLA_FMT";
    case MemoryFormat::kKvL2TD:
      return "KV_L2TD";
  }
  return "unknown";
}

Result<ChunkLayout> place_planes(ChunkLayout layout) {
  KVFERRY_RETURN_IF_ERROR(check_fields(layout));
  KVFERRY_RETURN_IF_ERROR(check_format(layout));
  CheckedMath math;
  layout.size_bytes = 0;
  for (ChunkPlane& plane : layout.planes) {
    plane.offset_bytes = layout.size_bytes;
    plane.token_stride_bytes = plane.row_bytes;
    layout.size_bytes = math.add(layout.size_bytes, math.mul(plane.row_bytes, layout.num_tokens));
  }
  if (!math.is_ok()) return make_error(refuse("size passes 2^62 bytes"));
  if (layout.format == MemoryFormat::kKvL2TD) return layout;
  const int64_t plane_bytes = layout.planes.front().row_bytes * layout.num_tokens;
  for (size_t i = 0; i < layout.planes.size(); ++i) {
    layout.planes[i].offset_bytes = equal_plane_offset(layout, i, plane_bytes);
    if (layout.format == MemoryFormat::kKvT2D) layout.planes[i].token_stride_bytes *= 2;
  }
  return layout;
}

Result<ChunkLayout> make_chunk_layout(MemoryFormat format, const KVLayout& source,
                                      int64_t num_tokens) {
  ChunkLayout layout;
  layout.dtype = source.dtype;
  layout.format = format;
  layout.heads = source.heads;
  layout.num_tokens = num_tokens;
  CheckedMath math;
  for (size_t group = 0; group < source.groups.size(); ++group) {
    for (const KVPlane& plane : source.groups[group].planes) {
      ChunkPlane& out = layout.planes.emplace_back();
      out.group = static_cast<int32_t>(group);
      out.layer = plane.layer;
      out.role = plane.role;
      out.row_bytes = math.mul(plane.num_heads, plane.content_bytes);
    }
  }
  if (!math.is_ok()) return make_error(refuse("bytes of a row are negative or pass 2^62"));
  return place_planes(std::move(layout));
}

Result<std::vector<Fragment>> split_fragments(const ChunkLayout& layout, int64_t target_bytes) {
  if (target_bytes < 1) {
    return make_error(refuse("target_bytes is " + std::to_string(target_bytes) +
                             "; a fragment holds at least 1 byte"));
  }
  KVFERRY_RETURN_IF_ERROR(check_fields(layout));
  std::vector<Fragment> fragments;
  for (size_t plane = 0; plane < layout.planes.size();) {
    KVFERRY_ASSIGN_OR_RETURN(const Fragment layer, layer_fragment(layout, plane));
    plane = static_cast<size_t>(layer.plane_end);
    const bool joins =
        !fragments.empty() &&
        fragments.back().offset_bytes + fragments.back().size_bytes == layer.offset_bytes &&
        layer.size_bytes <= target_bytes - fragments.back().size_bytes;
    if (joins) {
      fragments.back().plane_end = layer.plane_end;
      fragments.back().size_bytes += layer.size_bytes;
    } else {
      fragments.push_back(layer);
    }
  }
  return fragments;
}

}  // namespace kvferry
