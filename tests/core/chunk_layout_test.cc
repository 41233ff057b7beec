#include "kvferry/chunk_layout.h"

#include <gmock/gmock.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr MemoryFormat kAllFormats[] = {MemoryFormat::kKv2LTD, MemoryFormat::kKvT2D,
                                        MemoryFormat::kKv2TD, MemoryFormat::kKvMla,
                                        MemoryFormat::kKvL2TD};

/// A source of `num_layers` layers that has no memory: chunk layouts need none.
KVLayout key_value_source(int32_t num_layers) {
  KVLayout source;
  source.heads = {8, 2, 2};
  source.groups.emplace_back();
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    for (KVRole role : {KVRole::kKey, KVRole::kValue}) {
      KVPlane plane;
      plane.layer = layer;
      plane.role = role;
      plane.num_heads = 2;
      plane.content_bytes = 3;
      source.groups[0].planes.push_back(plane);
    }
  }
  return source;
}

KVLayout latent_source(int32_t num_layers) {
  KVLayout source = key_value_source(num_layers);
  std::erase_if(source.groups[0].planes,
                [](const KVPlane& plane) { return plane.role == KVRole::kValue; });
  for (KVPlane& plane : source.groups[0].planes) plane.role = KVRole::kLatent;
  return source;
}

ChunkLayout make(MemoryFormat format, const KVLayout& source, int64_t num_tokens) {
  auto layout = make_chunk_layout(format, source, num_tokens);
  EXPECT_THAT(layout, IsOk());
  return layout.value_or(ChunkLayout{});
}

/// A layout of each format that fits it.
std::vector<ChunkLayout> one_of_each(int64_t num_tokens) {
  return {make(MemoryFormat::kKv2LTD, key_value_source(3), num_tokens),
          make(MemoryFormat::kKvT2D, key_value_source(1), num_tokens),
          make(MemoryFormat::kKv2TD, key_value_source(1), num_tokens),
          make(MemoryFormat::kKvMla, latent_source(3), num_tokens),
          make(MemoryFormat::kKvL2TD, key_value_source(3), num_tokens)};
}

/// Offset of a row by the order that the format's name gives; rows take 6 bytes.
int64_t naive_row_offset(MemoryFormat format, int64_t layer, int64_t role, int64_t token) {
  constexpr int64_t kL = 3, kT = 5, kD = 6;
  switch (format) {
    case MemoryFormat::kKv2LTD:
      return ((role * kL + layer) * kT + token) * kD;
    case MemoryFormat::kKvT2D:
      return (token * 2 + role) * kD;
    case MemoryFormat::kKv2TD:
      return (role * kT + token) * kD;
    case MemoryFormat::kKvMla:
      return (layer * kT + token) * kD;
    case MemoryFormat::kKvL2TD:
      return ((layer * 2 + role) * kT + token) * kD;
  }
  return -1;
}

TEST(MakeChunkLayout, EveryFormatPutsEveryRowWhereItsNameSays) {
  for (const ChunkLayout& layout : one_of_each(5)) {
    std::vector<int> times_used(static_cast<size_t>(layout.size_bytes), 0);
    for (const ChunkPlane& plane : layout.planes) {
      for (int64_t token = 0; token < 5; ++token) {
        const int64_t offset = plane.offset_bytes + token * plane.token_stride_bytes;
        const int64_t role = plane.role == KVRole::kValue ? 1 : 0;
        ASSERT_EQ(offset, naive_row_offset(layout.format, plane.layer, role, token))
            << memory_format_name(layout.format);
        for (int64_t i = 0; i < plane.row_bytes; ++i) {
          ++times_used.at(static_cast<size_t>(offset + i));
        }
      }
    }
    EXPECT_THAT(times_used, ::testing::Each(1)) << memory_format_name(layout.format);
  }
}

TEST(MakeChunkLayout, CopiesIdentityAndCountsTiles) {
  const ChunkLayout layout = make(MemoryFormat::kKvL2TD, key_value_source(2), 33);
  EXPECT_EQ(layout.dtype, DType::kBF16);
  EXPECT_EQ(layout.heads, (HeadRange{8, 2, 2}));
  EXPECT_EQ(layout.tiles_per_plane(), 3);
  EXPECT_EQ(layout.num_tiles(), 12);
  EXPECT_EQ(layout.size_bytes, 4 * 33 * 6);
}

TEST(MakeChunkLayout, L2TDTakesSeveralGroupsAndWidths) {
  KVLayout source = key_value_source(1);
  source.groups.push_back(latent_source(1).groups[0]);
  source.groups[1].planes[0].content_bytes = 5;
  const ChunkLayout layout = make(MemoryFormat::kKvL2TD, source, 2);
  EXPECT_THAT(layout.planes, ElementsAre(ChunkPlane{0, 0, KVRole::kKey, 6, 0, 6},
                                         ChunkPlane{0, 0, KVRole::kValue, 6, 12, 6},
                                         ChunkPlane{1, 0, KVRole::kLatent, 10, 24, 10}));
  EXPECT_EQ(layout.size_bytes, 44);
}

TEST(MakeChunkLayout, RefusesPlanesThatTheFormatDoesNotTake) {
  const auto expect_refused = [](MemoryFormat format, const KVLayout& source, const char* what) {
    EXPECT_THAT(make_chunk_layout(format, source, 16),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(what)))
        << memory_format_name(format);
  };
  expect_refused(MemoryFormat::kKvT2D, key_value_source(2), "one layer");
  expect_refused(MemoryFormat::kKv2TD, key_value_source(2), "one layer");
  expect_refused(MemoryFormat::kKvMla, key_value_source(1), "latents only");
  for (MemoryFormat format : {MemoryFormat::kKv2LTD, MemoryFormat::kKvT2D, MemoryFormat::kKv2TD}) {
    expect_refused(format, latent_source(1), "K and V");
    KVLayout uneven = key_value_source(1);
    uneven.groups[0].planes[1].content_bytes = 4;
    expect_refused(format, uneven, "equal row_bytes");
  }
  expect_refused(static_cast<MemoryFormat>(4), key_value_source(1), "format is unknown");
}

TEST(MakeChunkLayout, RefusesBadFieldsNamingThem) {
  struct Refusal {
    const char* what;
    std::function<void(KVLayout&)> change;
  };
  constexpr auto kMax = std::numeric_limits<int64_t>::max();
  const Refusal refusals[] = {
      {"dtype", [](KVLayout& l) { l.dtype = static_cast<DType>(0); }},
      {"heads", [](KVLayout& l) { l.heads.count = 7; }},
      {"0 planes", [](KVLayout& l) { l.groups.clear(); }},
      {"4097 planes", [](KVLayout& l) { l.groups[0].planes.resize(4097); }},
      {"plane 1", [](KVLayout& l) { l.groups[0].planes[1].role = static_cast<KVRole>(7); }},
      {"out of order",
       [](KVLayout& l) { std::swap(l.groups[0].planes[0], l.groups[0].planes[1]); }},
      {"negative", [](KVLayout& l) { l.groups[0].planes[0].layer = -1; }},
      {"row_bytes 0", [](KVLayout& l) { l.groups[0].planes[1].content_bytes = 0; }},
      {"negative", [](KVLayout& l) { l.groups[0].planes[1].content_bytes = -1; }},
      {"2^62", [](KVLayout& l) { l.groups[0].planes[1].content_bytes = kMax; }},
  };
  for (const Refusal& refusal : refusals) {
    KVLayout source = key_value_source(1);
    refusal.change(source);
    EXPECT_THAT(make_chunk_layout(MemoryFormat::kKvL2TD, source, 16),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(refusal.what)));
  }
  for (int64_t num_tokens : {int64_t{0}, int64_t{-1}}) {
    EXPECT_THAT(make_chunk_layout(MemoryFormat::kKvL2TD, key_value_source(1), num_tokens),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("num_tokens")));
  }
  EXPECT_THAT(make_chunk_layout(MemoryFormat::kKv2LTD, key_value_source(1), kMax),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("2^62")));
}

TEST(PlacePlanes, LeavesAPlacedLayoutAsItIs) {
  for (const ChunkLayout& layout : one_of_each(40)) {
    EXPECT_THAT(place_planes(layout), IsOkAndHolds(layout));
  }
}

TEST(MemoryFormat, NamesAreThoseOfLMCache) {
  std::vector<std::string> names;
  for (MemoryFormat format : kAllFormats) names.emplace_back(memory_format_name(format));
  EXPECT_THAT(names, ElementsAre("KV_2LTD", "KV_T2D", "KV_2TD", "KV_MLA_FMT", "KV_L2TD"));
  EXPECT_EQ(memory_format_name(static_cast<MemoryFormat>(0)), "unknown");
}

TEST(SplitFragments, JoinsWholeLayersUpToTheTarget) {
  const ChunkLayout layout = make(MemoryFormat::kKvL2TD, key_value_source(5), 10);  // 120 a layer
  EXPECT_THAT(split_fragments(layout, 359),
              IsOkAndHolds(ElementsAre(Fragment{0, 4, 0, 240}, Fragment{4, 8, 240, 240},
                                       Fragment{8, 10, 480, 120})));
  EXPECT_THAT(split_fragments(layout, 360),
              IsOkAndHolds(ElementsAre(Fragment{0, 6, 0, 360}, Fragment{6, 10, 360, 240})));
}

TEST(SplitFragments, GivesALayerLargerThanTheTargetAFragmentOfItsOwn) {
  const ChunkLayout layout = make(MemoryFormat::kKvL2TD, key_value_source(2), 10);
  EXPECT_THAT(split_fragments(layout, 1),
              IsOkAndHolds(ElementsAre(Fragment{0, 2, 0, 120}, Fragment{2, 4, 120, 120})));
}

TEST(SplitFragments, TakesEveryFormatThatKeepsLayersWhole) {
  for (const ChunkLayout& layout : one_of_each(10)) {
    if (layout.format == MemoryFormat::kKv2LTD) continue;
    const auto num_planes = static_cast<int32_t>(layout.planes.size());
    EXPECT_THAT(split_fragments(layout, std::numeric_limits<int64_t>::max()),
                IsOkAndHolds(ElementsAre(Fragment{0, num_planes, 0, layout.size_bytes})))
        << memory_format_name(layout.format);
  }
  EXPECT_THAT(split_fragments(make(MemoryFormat::kKv2LTD, key_value_source(1), 10), 1),
              IsOkAndHolds(ElementsAre(Fragment{0, 2, 0, 120})));
}

TEST(SplitFragments, RefusesFormatsThatTearLayersApart) {
  EXPECT_THAT(split_fragments(make(MemoryFormat::kKv2LTD, key_value_source(2), 10), 1 << 20),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("KV_2LTD does not keep layer 0")));
}

TEST(SplitFragments, RefusesTargetsBelowOneByte) {
  const ChunkLayout layout = make(MemoryFormat::kKvL2TD, key_value_source(1), 10);
  EXPECT_THAT(split_fragments(layout, 0),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("target_bytes is 0")));
}

TEST(SplitFragments, RefusesPlanesOutsideTheChunk) {
  ChunkLayout layout = make(MemoryFormat::kKvL2TD, key_value_source(1), 10);
  layout.planes[1].offset_bytes += 1;
  EXPECT_THAT(split_fragments(layout, 1 << 20),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("plane 1 lies outside")));
}

TEST(SplitFragments, SurvivesExtremeNumbers) {
  SeededRng rng;
  constexpr auto kMin64 = std::numeric_limits<int64_t>::min();
  constexpr auto kMax64 = std::numeric_limits<int64_t>::max();
  const std::vector<int64_t> extremes = {kMin64, -1, 0, 1, 6, 60, 1LL << 61, 1LL << 62, kMax64};
  for (int round = 0; round < 20000; ++round) {
    ChunkLayout layout = make(MemoryFormat::kKvL2TD, key_value_source(2), 10);
    if (rng.one_in(3)) layout.num_tokens = rng.pick(extremes);
    if (rng.one_in(3)) layout.size_bytes = rng.pick(extremes);
    for (ChunkPlane& plane : layout.planes) {
      if (rng.one_in(4)) plane.offset_bytes = rng.pick(extremes);
      if (rng.one_in(4)) plane.token_stride_bytes = rng.pick(extremes);
      if (rng.one_in(4)) plane.row_bytes = rng.pick(extremes);
    }
    const auto fragments = split_fragments(layout, rng.pick(extremes));
    if (!fragments) continue;
    for (const Fragment& fragment : *fragments) {
      ASSERT_GE(fragment.offset_bytes, 0);
      ASSERT_LE(fragment.size_bytes, layout.size_bytes - fragment.offset_bytes);
    }
    ASSERT_THAT(place_planes(layout), IsOk());
  }
}

}  // namespace
}  // namespace kvferry
