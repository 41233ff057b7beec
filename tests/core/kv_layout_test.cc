#include "kvferry/kv_layout.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr PagePreset kAllPresets[] = {PagePreset::kVllmNhd, PagePreset::kVllmHnd,
                                      PagePreset::kFlashInfer, PagePreset::kCrossLayer,
                                      PagePreset::kMla};

PagedShape small_shape(PagePreset preset) {
  return {.num_layers = 3,
          .num_blocks = 5,
          .block_tokens = 4,
          .num_heads = preset == PagePreset::kMla ? 1 : 2,
          .head_dim = 6,
          .dtype = DType::kF16};
}

/// Real memory for a cache of a preset.
struct Cache {
  explicit Cache(PagePreset preset, const PagedShape& shape) {
    const auto bytes = static_cast<size_t>(buffer_bytes(preset, shape));
    for (int32_t i = 0; i < num_buffers(preset, shape); ++i) {
      memory.emplace_back(bytes);
      buffers.push_back(memory.back().data());
    }
  }
  std::vector<std::vector<std::byte>> memory;
  std::vector<std::byte*> buffers;
};

KVLayout make_layout(PagePreset preset, const PagedShape& shape, const Cache& cache) {
  auto layout = make_kv_layout(preset, shape, cache.buffers);
  EXPECT_THAT(layout, IsOk()) << page_preset_name(preset);
  return layout.value_or(KVLayout{});
}

struct Index {
  int64_t layer, role, block, token, head, content;
};

/// Offset inside its buffer by the shape that the preset's comment gives, written out naively.
int64_t naive_offset(PagePreset preset, const PagedShape& s, const Index& i) {
  const int64_t row = int64_t{s.head_dim} * dtype_size(s.dtype);
  const int64_t nb = s.num_blocks, bs = s.block_tokens, h = s.num_heads, l = s.num_layers;
  switch (preset) {
    case PagePreset::kVllmNhd:
      return (((i.role * nb + i.block) * bs + i.token) * h + i.head) * row + i.content;
    case PagePreset::kVllmHnd:
      return (((i.role * nb + i.block) * h + i.head) * bs + i.token) * row + i.content;
    case PagePreset::kFlashInfer:
      return (((i.block * 2 + i.role) * bs + i.token) * h + i.head) * row + i.content;
    case PagePreset::kCrossLayer:
      return ((((i.block * l + i.layer) * 2 + i.role) * bs + i.token) * h + i.head) * row +
             i.content;
    case PagePreset::kMla:
      return (i.block * bs + i.token) * row + i.content;
  }
  return -1;
}

std::byte* address(const KVPlane& plane, const Index& i) {
  return plane.base + i.block * plane.block_stride_bytes + i.token * plane.token_stride_bytes +
         i.head * plane.head_stride_bytes + i.content;
}

template <typename Visit>
void for_each_byte(const PagedShape& shape, const KVPlane& plane, const Visit& visit) {
  Index i = {};
  i.layer = plane.layer;
  i.role = plane.role == KVRole::kValue ? 1 : 0;
  for (i.block = 0; i.block < shape.num_blocks; ++i.block) {
    for (i.token = 0; i.token < shape.block_tokens; ++i.token) {
      for (i.head = 0; i.head < plane.num_heads; ++i.head) {
        for (i.content = 0; i.content < plane.content_bytes; ++i.content) visit(i);
      }
    }
  }
}

TEST(MakeKVLayout, EveryPresetPutsEveryByteWhereItsShapeSays) {
  for (PagePreset preset : kAllPresets) {
    const PagedShape shape = small_shape(preset);
    const Cache cache(preset, shape);
    const KVLayout layout = make_layout(preset, shape, cache);
    ASSERT_EQ(layout.groups.size(), 1U);
    std::set<const std::byte*> seen;
    for (const KVPlane& plane : layout.groups[0].planes) {
      const size_t buffer = cache.buffers.size() == 1 ? 0 : static_cast<size_t>(plane.layer);
      for_each_byte(shape, plane, [&](const Index& i) {
        const std::byte* at = address(plane, i);
        ASSERT_EQ(at - cache.buffers[buffer], naive_offset(preset, shape, i))
            << page_preset_name(preset);
        seen.insert(at);
      });
    }
    const auto total = static_cast<size_t>(buffer_bytes(preset, shape)) * cache.buffers.size();
    EXPECT_EQ(seen.size(), total) << page_preset_name(preset) << " leaves bytes out or doubles";
  }
}

TEST(MakeKVLayout, FillsGroupHeadsAndCounts) {
  for (PagePreset preset : kAllPresets) {
    const PagedShape shape = small_shape(preset);
    const Cache cache(preset, shape);
    const KVLayout layout = make_layout(preset, shape, cache);
    const int64_t roles = preset == PagePreset::kMla ? 1 : 2;
    EXPECT_EQ(layout.num_planes(), 3 * roles);
    EXPECT_EQ(layout.token_bytes(), 3 * roles * shape.num_heads * 12);
    EXPECT_EQ(layout.groups.at(0).num_slots(), 20);
    EXPECT_EQ(layout.heads, (HeadRange{shape.num_heads, 0, shape.num_heads}));
    EXPECT_EQ(layout.dtype, DType::kF16);
  }
}

TEST(MakeKVLayout, PresetNamesAreDistinct) {
  std::set<std::string_view> names;
  for (PagePreset preset : kAllPresets) names.insert(page_preset_name(preset));
  EXPECT_EQ(names.size(), std::size(kAllPresets));
  EXPECT_EQ(names.count("unknown"), 0U);
}

TEST(MakeKVLayout, RefusesNonPositiveShapeFields) {
  const auto refused = [](auto member) {
    PagedShape shape = small_shape(PagePreset::kVllmNhd);
    const Cache cache(PagePreset::kVllmNhd, shape);
    for (int value : {0, -1}) {
      shape.*member = value;
      EXPECT_EQ(buffer_bytes(PagePreset::kVllmNhd, shape), 0);
      EXPECT_THAT(make_kv_layout(PagePreset::kVllmNhd, shape, cache.buffers),
                  StatusIs(StatusCode::kInvalidArgument, HasSubstr("not positive")));
    }
  };
  refused(&PagedShape::num_layers);
  refused(&PagedShape::num_blocks);
  refused(&PagedShape::block_tokens);
  refused(&PagedShape::num_heads);
  refused(&PagedShape::head_dim);
}

TEST(MakeKVLayout, RefusesShapesWhoseBytesOverflow) {
  PagedShape shape = small_shape(PagePreset::kCrossLayer);
  const Cache cache(PagePreset::kCrossLayer, shape);
  shape.num_blocks = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(buffer_bytes(PagePreset::kCrossLayer, shape), 0);
  EXPECT_THAT(make_kv_layout(PagePreset::kCrossLayer, shape, cache.buffers),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("2^62")));
  constexpr auto kHuge = std::numeric_limits<int32_t>::max();
  const PagedShape all = {kHuge, std::numeric_limits<int64_t>::max(), kHuge, kHuge, kHuge};
  EXPECT_EQ(buffer_bytes(PagePreset::kVllmNhd, all), 0);
}

TEST(MakeKVLayout, RefusesUnknownDType) {
  PagedShape shape = small_shape(PagePreset::kVllmNhd);
  const Cache cache(PagePreset::kVllmNhd, shape);
  shape.dtype = static_cast<DType>(0);
  EXPECT_THAT(make_kv_layout(PagePreset::kVllmNhd, shape, cache.buffers),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("dtype unknown")));
}

TEST(MakeKVLayout, RefusesTheWrongNumberOfBuffers) {
  for (PagePreset preset : kAllPresets) {
    const PagedShape shape = small_shape(preset);
    Cache cache(preset, shape);
    cache.buffers.push_back(cache.buffers[0]);
    EXPECT_THAT(make_kv_layout(preset, shape, cache.buffers),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("buffers")));
    EXPECT_THAT(make_kv_layout(preset, shape, {}), StatusIs(StatusCode::kInvalidArgument));
  }
}

TEST(MakeKVLayout, RefusesNullAndSharedBuffers) {
  const PagedShape shape = small_shape(PagePreset::kVllmNhd);
  Cache cache(PagePreset::kVllmNhd, shape);
  cache.buffers[1] = nullptr;
  EXPECT_THAT(make_kv_layout(PagePreset::kVllmNhd, shape, cache.buffers),
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("layer 1"), HasSubstr("base is null"))));
  cache.buffers[1] = cache.buffers[0];
  EXPECT_THAT(make_kv_layout(PagePreset::kVllmNhd, shape, cache.buffers),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("overlap")));
}

TEST(MakeKVLayout, RefusesMlaOfSeveralHeads) {
  PagedShape shape = small_shape(PagePreset::kMla);
  const Cache cache(PagePreset::kMla, shape);
  shape.num_heads = 2;
  EXPECT_THAT(make_kv_layout(PagePreset::kMla, shape, cache.buffers),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("num_heads is 2")));
}

}  // namespace
}  // namespace kvferry
