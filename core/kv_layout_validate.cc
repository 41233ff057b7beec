#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "core/checked_math.h"
#include "kvferry/kv_layout.h"

namespace kvferry {
namespace {

using detail::CheckedMath;

/// One axis of a plane: `count` things, `stride` bytes apart.
struct Axis {
  int64_t count = 1;
  int64_t stride = 0;
};

/// A plane's contents as a nest of axes, outermost first. spans[i] is the bytes from the first to
/// the last byte of axes i and further in; spans[3] is one content.
struct Nest {
  uint64_t begin = 0;
  std::array<Axis, 3> axes;
  std::array<int64_t, 4> spans = {};
  size_t plane = 0;

  uint64_t end() const { return begin + static_cast<uint64_t>(spans[0]); }
};

std::string plane_name(size_t group, const KVPlane& plane) {
  constexpr std::array<const char*, 3> kRoles = {"key", "value", "latent"};
  const auto role = static_cast<size_t>(plane.role);
  return "group " + std::to_string(group) + " layer " + std::to_string(plane.layer) + " " +
         (role < kRoles.size() ? kRoles[role] : "unknown role");
}

Status refuse(std::string where, const std::string& what) {
  return Status(StatusCode::kInvalidArgument, std::move(where) + ": " + what);
}

Status check_positive(const std::string& where, const char* field, int64_t value) {
  if (value > 0) return Status();
  return refuse(where, std::string(field) + " is " + std::to_string(value) + "; must be > 0");
}

Status check_fields(const std::string& where, const KVPlane& plane) {
  if (plane.base == nullptr) return refuse(where, "base is null");
  if (plane.layer < 0) return refuse(where, "layer is negative");
  if (plane.role > KVRole::kLatent) return refuse(where, "role is none of key, value, latent");
  KVFERRY_RETURN_IF_ERROR(check_positive(where, "num_heads", plane.num_heads));
  KVFERRY_RETURN_IF_ERROR(check_positive(where, "content_bytes", plane.content_bytes));
  KVFERRY_RETURN_IF_ERROR(check_positive(where, "block_stride_bytes", plane.block_stride_bytes));
  KVFERRY_RETURN_IF_ERROR(check_positive(where, "token_stride_bytes", plane.token_stride_bytes));
  return check_positive(where, "head_stride_bytes", plane.head_stride_bytes);
}

/// The nest of a plane whose fields are positive. Strides of axes with one entry mean nothing.
Result<Nest> make_nest(const std::string& where, const KVGroup& group, const KVPlane& plane) {
  Nest nest;
  nest.begin = reinterpret_cast<uintptr_t>(plane.base);
  nest.axes = {Axis{group.num_blocks, plane.block_stride_bytes},
               Axis{group.block_tokens, plane.token_stride_bytes},
               Axis{plane.num_heads, plane.head_stride_bytes}};
  for (Axis& axis : nest.axes) {
    if (axis.count == 1) axis.stride = detail::kMaxExtent;
  }
  std::sort(nest.axes.begin(), nest.axes.end(),
            [](const Axis& a, const Axis& b) { return a.stride > b.stride; });
  CheckedMath math;
  nest.spans[3] = math.add(plane.content_bytes, 0);
  for (size_t i = 3; i-- > 0;) {
    const Axis& axis = nest.axes[i];
    if (axis.stride < nest.spans[i + 1]) {
      return make_error(refuse(
          where, "stride of " + std::to_string(axis.stride) + " bytes is less than the " +
                     std::to_string(nest.spans[i + 1]) + " bytes it steps over; contents overlap"));
    }
    nest.spans[i] = math.add(math.mul(axis.count - 1, axis.stride), nest.spans[i + 1]);
  }
  uint64_t end = 0;
  const bool wraps = __builtin_add_overflow(nest.begin, static_cast<uint64_t>(nest.spans[0]), &end);
  if (!math.is_ok() || wraps) {
    return make_error(refuse(where,
                             "last byte lies more than 2^62 bytes past base, or past the "
                             "address space"));
  }
  return nest;
}

/// True when contents of `a` and of `b`, which starts `distance` bytes later, may share a byte.
/// Exact where both step alike; where they do not, what is further in counts as solid.
bool may_overlap(const Nest& a, size_t axis_a, const Nest& b, size_t axis_b, int64_t distance) {
  if (distance >= a.spans[axis_a] || -distance >= b.spans[axis_b]) return false;
  while (axis_a < 3 && a.axes[axis_a].count == 1) ++axis_a;
  while (axis_b < 3 && b.axes[axis_b].count == 1) ++axis_b;
  if (axis_a == 3 || axis_b == 3) return true;
  if (a.axes[axis_a].stride != b.axes[axis_b].stride) return true;
  // b's entry i can lie against a's entries i + step and i + step + 1 only: entries are a stride
  // apart, and what is further in is no longer than the stride.
  const int64_t stride = a.axes[axis_a].stride;
  const int64_t step = distance / stride - (distance % stride < 0 ? 1 : 0);
  for (int64_t shift : {step, step + 1}) {
    const bool reachable = shift < a.axes[axis_a].count && -shift < b.axes[axis_b].count;
    const int64_t rest = distance - shift * stride;
    if (reachable && may_overlap(a, axis_a + 1, b, axis_b + 1, rest)) return true;
  }
  return false;
}

/// Planes of one group must not share bytes. (Groups may: engines with several block sizes carve
/// them from one pool, and a block belongs to one group at a time.)
Status check_overlaps(size_t index, const KVGroup& group, std::vector<Nest> nests) {
  std::sort(nests.begin(), nests.end(),
            [](const Nest& a, const Nest& b) { return a.begin < b.begin; });
  for (size_t i = 0; i < nests.size(); ++i) {
    for (size_t j = i + 1; j < nests.size() && nests[j].begin < nests[i].end(); ++j) {
      const auto distance = static_cast<int64_t>(nests[j].begin - nests[i].begin);
      if (!may_overlap(nests[i], 0, nests[j], 0, distance)) continue;
      return refuse(plane_name(index, group.planes[nests[j].plane]),
                    "contents overlap those of " + plane_name(index, group.planes[nests[i].plane]) +
                        "; check base and strides");
    }
  }
  return Status();
}

Status check_group(size_t index, const KVGroup& group) {
  const std::string where = "group " + std::to_string(index);
  KVFERRY_RETURN_IF_ERROR(check_positive(where, "block_tokens", group.block_tokens));
  KVFERRY_RETURN_IF_ERROR(check_positive(where, "num_blocks", group.num_blocks));
  CheckedMath math;
  math.mul(group.num_blocks, group.block_tokens);
  if (!math.is_ok()) return refuse(where, "num_blocks * block_tokens passes 2^62");
  if (group.planes.empty()) return refuse(where, "has no planes");
  std::vector<Nest> nests;
  for (size_t i = 0; i < group.planes.size(); ++i) {
    const KVPlane& plane = group.planes[i];
    const std::string name = plane_name(index, plane);
    KVFERRY_RETURN_IF_ERROR(check_fields(name, plane));
    if (i > 0) {
      const KVPlane& before = group.planes[i - 1];
      if (std::pair(before.layer, before.role) >= std::pair(plane.layer, plane.role)) {
        return refuse(name, "planes must be ordered by layer, then role, each once");
      }
    }
    KVFERRY_ASSIGN_OR_RETURN(Nest nest, make_nest(name, group, plane));
    nest.plane = i;
    nests.push_back(nest);
  }
  return check_overlaps(index, group, std::move(nests));
}

Status check_token_bytes(const KVLayout& layout) {
  CheckedMath math;
  int64_t bytes = 0;
  for (const KVGroup& group : layout.groups) {
    for (const KVPlane& plane : group.planes) {
      bytes = math.add(bytes, math.mul(plane.num_heads, plane.content_bytes));
    }
  }
  if (math.is_ok()) return Status();
  return refuse("layout", "bytes of one token pass 2^62");
}

}  // namespace

Status validate(const KVLayout& layout) {
  if (dtype_size(layout.dtype) == 0) return refuse("layout", "dtype is unknown");
  const HeadRange& heads = layout.heads;
  const bool heads_fit = heads.begin >= 0 && heads.count > 0 && heads.begin < heads.global_heads &&
                         heads.count <= heads.global_heads - heads.begin;
  if (!heads_fit) {
    return refuse("layout", "heads [" + std::to_string(heads.begin) + ", +" +
                                std::to_string(heads.count) + ") are no range of the model's " +
                                std::to_string(heads.global_heads));
  }
  if (layout.groups.empty()) return refuse("layout", "has no groups");
  for (size_t i = 0; i < layout.groups.size(); ++i) {
    KVFERRY_RETURN_IF_ERROR(check_group(i, layout.groups[i]));
  }
  return check_token_bytes(layout);
}

}  // namespace kvferry
