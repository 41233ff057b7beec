#include "kvferry/checksum.h"

#include <gmock/gmock.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "kvferry/cache_engine_key.h"
#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

// Numbers without explanation are the test vectors of docs/formats/checksum.md.

namespace kvferry {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::byte> pattern(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(7 * i + (i >> 8));
  return bytes;
}

ChunkLayout place(ChunkLayout layout) {
  auto placed = place_planes(std::move(layout));
  EXPECT_THAT(placed, IsOk());
  return placed.value_or(ChunkLayout{});
}

ChunkLayout key_value_layout(MemoryFormat format, int32_t num_layers, int64_t row_bytes,
                             int64_t num_tokens) {
  ChunkLayout layout;
  layout.format = format;
  layout.heads = {12, 3, 3};
  layout.num_tokens = num_tokens;
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    layout.planes.push_back({0, layer, KVRole::kKey, row_bytes});
    layout.planes.push_back({0, layer, KVRole::kValue, row_bytes});
  }
  return place(layout);
}

/// The chunk that the document works through.
struct Example {
  ChunkLayout layout = key_value_layout(MemoryFormat::kKvL2TD, 2, 96, 40);
  std::vector<std::byte> chunk = pattern(15360);
  std::vector<uint64_t> digests = std::vector<uint64_t>(12);
  ChunkIdentity identity;

  Example() {
    CacheEngineKey key;
    key.model = "example-model";
    identity = {key.digest(), 256, 296, layout_digest(layout)};
    EXPECT_THAT(compute_tile_digests(layout, chunk, 0, 4, digests), IsOk());
  }
  uint64_t digest() const { return bind_digest(identity, 0, 12, tile_sum(0, digests), 15360); }
};

TEST(TileDigest, AgreesWithTheDocument) {
  const std::vector<std::pair<size_t, uint64_t>> vectors = {
      {1, 0xde5f15ab6daf7941},    {64, 0xc5f6e360a9dc26aa},    {1000, 0xc4d874820e04d749},
      {1023, 0xd75d2b1cf9864fae}, {1024, 0x71bee625238addb4},  {1025, 0x713e693d7074587c},
      {2048, 0x3293e8238bd8f743}, {16384, 0xab2733e104980c24}, {20000, 0xd3e2bead38ad7e2d},
  };
  for (const auto& [size, digest] : vectors) EXPECT_EQ(tile_digest(pattern(size)), digest) << size;
}

TEST(TileDigest, IsThatOfTheBytesExtendedByZeros) {
  std::vector<std::byte> bytes = pattern(700);
  const uint64_t digest = tile_digest(bytes);
  bytes.resize(1024);
  EXPECT_EQ(tile_digest(bytes), digest);
  EXPECT_EQ(tile_digest({}), tile_digest(std::vector<std::byte>(1024)));
}

TEST(TileTerm, AgreesWithTheDocument) {
  EXPECT_EQ(tile_term(0, 0), 0xe220a8397b1dcdaf);
  EXPECT_EQ(tile_term(0, 1), 0xe4d971771b652c20);
  EXPECT_EQ(tile_term(1, 0), 0x6e789e6aa1b965f4);
  EXPECT_EQ(tile_term(5119, 0x0123456789abcdef), 0xbdeca961e0cd09f5);
  // d xor (t + 1) * golden ratio = x makes the term mix64(x).
  EXPECT_EQ(tile_term(0, 0x9E3779B97F4A7C15 ^ 0), 0U);
  EXPECT_EQ(tile_term(0, 0x9E3779B97F4A7C15 ^ 1), 0x5692161d100b05e5);
  EXPECT_EQ(tile_term(0, 0x9E3779B97F4A7C15 ^ 0x0123456789abcdef), 0xb2c058e4ebb5112c);
}

TEST(TileSum, IsOrderFreeAndAdditiveOverRanges) {
  const Example example;
  const std::span<const uint64_t> digests = example.digests;
  EXPECT_EQ(tile_sum(0, digests), tile_sum(0, digests.first(6)) + tile_sum(6, digests.last(6)));
  uint64_t backwards = 0;
  for (size_t i = digests.size(); i-- > 0;) {
    backwards += tile_term(static_cast<int64_t>(i), digests[i]);
  }
  EXPECT_EQ(tile_sum(0, digests), backwards);
}

TEST(ChunkDigest, AgreesWithTheDocument) {
  const Example example;
  EXPECT_EQ(example.identity.layout_digest, 0x481c61dbb92cafe9);
  EXPECT_EQ(layout_digest(key_value_layout(MemoryFormat::kKv2LTD, 2, 96, 40)), 0x7e3007b5050d4696);
  EXPECT_THAT(example.identity.key_hash,
              ElementsAre(0xb2, 0x81, 0x0f, 0x62, 0x23, 0x32, 0xd0, 0x97, 0xda, 0x16, 0x0e, 0x5d,
                          0x89, 0x6a, 0xe0, 0x13));
  EXPECT_THAT(
      example.digests,
      ElementsAre(0x3350db0e391e4c50, 0x61690ee58c534a56, 0x30b0a7e9b9c8784a, 0xb29a2b2fe84f6e2b,
                  0xe43d8069253bb36f, 0xc24d9846bb0dde50, 0xbc832a7879279df4, 0xe99b425a15189a41,
                  0xbe47f6f26625abca, 0x38c40001a4deb225, 0x800183f0b59675b8, 0x2a232c6b8cb7056e));
  EXPECT_EQ(tile_sum(0, example.digests), 0x86456dee23193437);
  EXPECT_EQ(example.digest(), 0x29a3d2b608904bf8);
  const uint64_t sum = tile_sum(6, std::span(example.digests).last(6));
  EXPECT_EQ(sum, 0x5cbeaf86f81c7ea6);
  EXPECT_EQ(bind_digest(example.identity, 6, 6, sum, 7680), 0x343b3ade561969b1);
}

TEST(ChunkDigest, ChangesWhenAnyBitFlips) {
  Example example;
  const uint64_t digest = example.digest();
  SeededRng rng;
  for (int round = 0; round < 300; ++round) {
    std::byte& byte = example.chunk[rng.below(example.chunk.size())];
    const auto bit = static_cast<std::byte>(1U << rng.below(8));
    byte ^= bit;
    ASSERT_THAT(compute_tile_digests(example.layout, example.chunk, 0, 4, example.digests), IsOk());
    ASSERT_NE(example.digest(), digest);
    byte ^= bit;
  }
}

TEST(ChunkDigest, ChangesWhenTilesAreSwappedDoubledOrLost) {
  Example example;
  const uint64_t digest = example.digest();
  for (size_t i = 0; i < example.digests.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      std::swap(example.digests[i], example.digests[j]);
      EXPECT_NE(example.digest(), digest) << i << " and " << j;
      std::swap(example.digests[i], example.digests[j]);
    }
  }
  const uint64_t kept = std::exchange(example.digests[4], example.digests[5]);
  EXPECT_NE(example.digest(), digest);
  example.digests[4] = kept;
  const uint64_t shorter = tile_sum(0, std::span(example.digests).first(11));
  EXPECT_NE(bind_digest(example.identity, 0, 11, shorter, 15360), digest);
}

TEST(ChunkDigest, ChangesWithEverythingItIsBoundTo) {
  const Example example;
  const uint64_t sum = tile_sum(0, example.digests);
  const auto bound = [&](auto change) {
    ChunkIdentity identity = example.identity;
    change(identity);
    return bind_digest(identity, 0, 12, sum, 15360);
  };
  const uint64_t digest = bound([](ChunkIdentity&) {});
  EXPECT_EQ(digest, example.digest());
  EXPECT_NE(bound([](ChunkIdentity& id) { id.key_hash[15] ^= 1; }), digest);
  EXPECT_NE(bound([](ChunkIdentity& id) { id.token_begin += 1; }), digest);
  EXPECT_NE(bound([](ChunkIdentity& id) { id.token_end += 1; }), digest);
  EXPECT_NE(bound([](ChunkIdentity& id) { id.layout_digest ^= 1; }), digest);
  EXPECT_NE(bind_digest(example.identity, 1, 12, sum, 15360), digest);
  EXPECT_NE(bind_digest(example.identity, 0, 11, sum, 15360), digest);
  EXPECT_NE(bind_digest(example.identity, 0, 12, sum + 1, 15360), digest);
  EXPECT_NE(bind_digest(example.identity, 0, 12, sum, 15359), digest);
}

TEST(LayoutDigest, ChangesWithWhatMakesBytesIncomparableAndWithNothingElse) {
  const Example example;
  const auto changed = [&](auto change) {
    ChunkLayout layout = example.layout;
    change(layout);
    return layout_digest(layout);
  };
  const uint64_t digest = layout_digest(example.layout);
  EXPECT_NE(changed([](ChunkLayout& l) { l.dtype = DType::kF16; }), digest);
  EXPECT_NE(changed([](ChunkLayout& l) { l.format = MemoryFormat::kKv2LTD; }), digest);
  EXPECT_NE(changed([](ChunkLayout& l) { l.heads.global_heads = 24; }), digest);
  EXPECT_NE(changed([](ChunkLayout& l) { l.heads.begin = 6; }), digest);
  EXPECT_NE(changed([](ChunkLayout& l) { l.heads.count = 6; }), digest);
  EXPECT_NE(changed([](ChunkLayout& l) { l.planes.pop_back(); }), digest);
  EXPECT_NE(changed([](ChunkLayout& l) { l.planes[3].group = 1; }), digest);
  EXPECT_NE(changed([](ChunkLayout& l) { l.planes[3].layer = 2; }), digest);
  EXPECT_NE(changed([](ChunkLayout& l) { l.planes[3].role = KVRole::kLatent; }), digest);
  EXPECT_NE(changed([](ChunkLayout& l) { l.planes[3].row_bytes = 97; }), digest);
  EXPECT_EQ(changed([](ChunkLayout& l) { l.num_tokens = 256; }), digest);
  EXPECT_EQ(changed([](ChunkLayout& l) { l.planes[3].offset_bytes = 1; }), digest);
}

/// Byte by byte into a zeroed buffer of whole blocks, then one XXH3 over it.
uint64_t naive_digest(const ChunkLayout& layout, const std::vector<std::byte>& chunk,
                      const ChunkPlane& plane, int64_t tile) {
  const int64_t end = std::min(layout.num_tokens, (tile + 1) * kTileTokens);
  std::vector<std::byte> bytes;
  for (int64_t token = tile * kTileTokens; token < end; ++token) {
    for (int64_t i = 0; i < plane.row_bytes; ++i) {
      bytes.push_back(
          chunk.at(static_cast<size_t>(plane.offset_bytes + token * plane.token_stride_bytes + i)));
    }
  }
  bytes.resize((bytes.size() + 1023) / 1024 * 1024);
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::vector<ChunkLayout> one_of_each(int64_t row_bytes, int64_t num_tokens) {
  ChunkLayout latents = key_value_layout(MemoryFormat::kKvL2TD, 3, row_bytes, num_tokens);
  std::erase_if(latents.planes, [](const ChunkPlane& p) { return p.role == KVRole::kValue; });
  for (ChunkPlane& plane : latents.planes) plane.role = KVRole::kLatent;
  latents.format = MemoryFormat::kKvMla;
  ChunkLayout uneven = key_value_layout(MemoryFormat::kKvL2TD, 2, row_bytes, num_tokens);
  uneven.planes[1].row_bytes += 5;
  return {key_value_layout(MemoryFormat::kKv2LTD, 3, row_bytes, num_tokens),
          key_value_layout(MemoryFormat::kKvT2D, 1, row_bytes, num_tokens),
          key_value_layout(MemoryFormat::kKv2TD, 1, row_bytes, num_tokens),
          key_value_layout(MemoryFormat::kKvL2TD, 3, row_bytes, num_tokens),
          place(latents),
          place(uneven)};
}

TEST(ComputeTileDigests, EveryFormatAgreesWithTheNaiveReference) {
  SeededRng rng;
  for (int64_t row_bytes : {1, 63, 64, 96, 128, 1024, 1111}) {
    for (int64_t num_tokens : {1, 15, 16, 17, 40, 64}) {
      for (const ChunkLayout& layout : one_of_each(row_bytes, num_tokens)) {
        const auto chunk = rng.bytes(static_cast<size_t>(layout.size_bytes));
        std::vector<uint64_t> digests(static_cast<size_t>(layout.num_tiles()));
        const auto num_planes = static_cast<int32_t>(layout.planes.size());
        ASSERT_THAT(compute_tile_digests(layout, chunk, 0, num_planes, digests), IsOk());
        std::vector<uint64_t> expected;
        for (const ChunkPlane& plane : layout.planes) {
          for (int64_t tile = 0; tile < layout.tiles_per_plane(); ++tile) {
            expected.push_back(naive_digest(layout, chunk, plane, tile));
          }
        }
        ASSERT_EQ(digests, expected) << memory_format_name(layout.format) << " rows of "
                                     << row_bytes << ", tokens " << num_tokens;
      }
    }
  }
}

TEST(ComputeTileDigests, FormatsOfTheSameRowsHaveTheSameTileDigests) {
  SeededRng rng;
  const ChunkLayout apart = key_value_layout(MemoryFormat::kKv2TD, 1, 80, 40);
  const ChunkLayout woven = key_value_layout(MemoryFormat::kKvT2D, 1, 80, 40);
  const auto chunk = rng.bytes(static_cast<size_t>(apart.size_bytes));
  std::vector<std::byte> rewoven(chunk.size());
  for (size_t token = 0; token < 40; ++token) {
    for (size_t role = 0; role < 2; ++role) {
      std::copy_n(chunk.begin() + static_cast<ptrdiff_t>((role * 40 + token) * 80), 80,
                  rewoven.begin() + static_cast<ptrdiff_t>((token * 2 + role) * 80));
    }
  }
  std::vector<uint64_t> a(6);
  std::vector<uint64_t> b(6);
  ASSERT_THAT(compute_tile_digests(apart, chunk, 0, 2, a), IsOk());
  ASSERT_THAT(compute_tile_digests(woven, rewoven, 0, 2, b), IsOk());
  EXPECT_EQ(a, b);
}

TEST(ComputeTileDigests, APlaneRangeGivesItsPartOfTheWhole) {
  const Example example;
  std::vector<uint64_t> part(6);
  ASSERT_THAT(compute_tile_digests(example.layout, example.chunk, 1, 3, part), IsOk());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), example.digests.begin() + 3));
  EXPECT_THAT(compute_tile_digests(example.layout, example.chunk, 2, 2, {}), IsOk());
}

TEST(ComputeTileDigests, RefusesWhatDoesNotFitAndWritesNothing) {
  Example example;
  std::vector<uint64_t> digests(12, 7);
  const auto expect_refused = [&](const ChunkLayout& layout, size_t chunk_bytes, int32_t begin,
                                  int32_t end, size_t num_digests, const char* what) {
    EXPECT_THAT(compute_tile_digests(layout, std::span(example.chunk).first(chunk_bytes), begin,
                                     end, std::span(digests).first(num_digests)),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(what)));
  };
  expect_refused(example.layout, 15359, 0, 4, 12, "15359 bytes");
  expect_refused(example.layout, 15360, 0, 4, 11, "11 digests");
  expect_refused(example.layout, 15360, 0, 5, 12, "planes [0, 5)");
  expect_refused(example.layout, 15360, -1, 3, 12, "planes [-1, 3)");
  expect_refused(example.layout, 15360, 3, 2, 0, "planes [3, 2)");
  ChunkLayout layout = example.layout;
  layout.planes[3].offset_bytes += 1;
  expect_refused(layout, 15360, 0, 4, 12, "plane 3");
  layout = example.layout;
  layout.planes[2].token_stride_bytes = 95;
  expect_refused(layout, 15360, 0, 4, 12, "plane 2");
  layout = example.layout;
  layout.num_tokens = 0;
  expect_refused(layout, 15360, 0, 4, 0, "0 tokens");
  EXPECT_THAT(digests, Each(7U));
}

TEST(ComputeTileDigests, SurvivesExtremeNumbers) {
  Example example;
  SeededRng rng;
  constexpr auto kMin64 = std::numeric_limits<int64_t>::min();
  constexpr auto kMax64 = std::numeric_limits<int64_t>::max();
  const std::vector<int64_t> extremes = {kMin64, -1, 0, 1, 96, 1LL << 61, 1LL << 62, kMax64};
  for (int round = 0; round < 5000; ++round) {
    ChunkLayout layout = example.layout;
    if (rng.one_in(3)) layout.num_tokens = rng.pick(extremes);
    if (rng.one_in(6)) layout.size_bytes = rng.pick(extremes);
    for (ChunkPlane& plane : layout.planes) {
      if (rng.one_in(4)) plane.offset_bytes = rng.pick(extremes);
      if (rng.one_in(4)) plane.token_stride_bytes = rng.pick(extremes);
      if (rng.one_in(4)) plane.row_bytes = rng.pick(extremes);
    }
    const auto begin = static_cast<int32_t>(rng.below(5));
    compute_tile_digests(layout, example.chunk, begin, 4, example.digests).ignore("may fit");
    tile_sum(kMax64 - 2, example.digests);
  }
}

}  // namespace
}  // namespace kvferry
