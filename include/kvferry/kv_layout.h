#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kvferry/device.h"
#include "kvferry/dtype.h"
#include "kvferry/status.h"

namespace kvferry {

/// What a plane holds: keys, values, or the fused latent of MLA.
enum class KVRole : uint8_t { kKey = 0, kValue = 1, kLatent = 2 };

/// The K (or V, or latent) of one layer inside an engine's paged cache, as strides read from the
/// engine and never guessed from a shape.
///
/// Byte of (block b, token t in block, head h, content c):
///   base + b * block_stride_bytes + t * token_stride_bytes + h * head_stride_bytes + c
/// All products are 64-bit. Gaps between contents (padding, the other role, in-page scales) are
/// never read or written.
struct KVPlane {
  int32_t layer = 0;
  KVRole role = KVRole::kKey;
  std::byte* base = nullptr;
  int64_t block_stride_bytes = 0;
  int64_t token_stride_bytes = 0;
  int64_t head_stride_bytes = 0;
  int32_t num_heads = 0;
  int64_t content_bytes = 0;  ///< of one (token, head)

  int64_t row_bytes() const { return num_heads * content_bytes; }  ///< of one token, if valid
};

/// Planes that share one block size and one block table.
struct KVGroup {
  int32_t block_tokens = 0;
  int64_t num_blocks = 0;
  std::vector<KVPlane> planes;  ///< by layer, then role

  int64_t num_slots() const { return num_blocks * block_tokens; }
};

/// The KV heads of the whole model and the range of them that this rank holds.
struct HeadRange {
  int32_t global_heads = 0;
  int32_t begin = 0;
  int32_t count = 0;

  friend bool operator==(const HeadRange&, const HeadRange&) = default;
};

/// How one rank of an engine lays out its paged KV cache.
struct KVFERRY_EXPORT KVLayout {
  DType dtype = DType::kBF16;
  HeadRange heads;
  std::vector<KVGroup> groups;
  Device device = {};  ///< whose memory all planes lie in

  int64_t num_planes() const;
  /// Bytes of one token over all planes of a valid layout.
  int64_t token_bytes() const;
};

/// Planes of one group must not share bytes; planes of different groups may (engines with several
/// block sizes carve them from one pool). Planes that step differently inside one block must not
/// interleave there.
///
/// Errors: kInvalidArgument naming group, layer and field: unknown dtype, heads outside the model,
///   no groups or planes, planes out of order or double, null base, non-positive sizes, contents
///   that would overlap one another, offsets past 2^62.
KVFERRY_EXPORT Status validate(const KVLayout& layout);

/// Page layouts of the engines that kvferry knows by name.
///
/// NB blocks, L layers, BS tokens a block, H heads, D head size.
enum class PagePreset : uint8_t {
  kVllmNhd,     ///< per layer [2, NB, BS, H, D]
  kVllmHnd,     ///< per layer [2, NB, H, BS, D]
  kFlashInfer,  ///< per layer [NB, 2, BS, H, D]
  kCrossLayer,  ///< one buffer [NB, L, 2, BS, H, D]
  kMla,         ///< per layer [NB, BS, D]; one head, no V
};

struct PagedShape {
  int32_t num_layers = 0;
  int64_t num_blocks = 0;
  int32_t block_tokens = 0;
  int32_t num_heads = 0;
  int32_t head_dim = 0;
  DType dtype = DType::kBF16;
};

KVFERRY_EXPORT std::string_view page_preset_name(PagePreset preset);
/// Buffers that a cache of this shape consists of: one per layer, or one.
KVFERRY_EXPORT int32_t num_buffers(PagePreset preset, const PagedShape& shape);
/// Bytes of each of those buffers; 0 if a field of `shape` is not positive or they pass 2^62.
KVFERRY_EXPORT int64_t buffer_bytes(PagePreset preset, const PagedShape& shape);

/// Describes buffers laid out as `preset`; a rank that holds all heads.
///
/// Errors: kInvalidArgument if the shape has a non-positive field or passes 2^62 bytes, `buffers`
///   has the wrong count, holds null or overlap, or kMla is asked for with more than one head.
KVFERRY_EXPORT Result<KVLayout> make_kv_layout(PagePreset preset, const PagedShape& shape,
                                               std::span<std::byte* const> buffers);

}  // namespace kvferry
