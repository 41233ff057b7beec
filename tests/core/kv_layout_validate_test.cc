#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kvferry/kv_layout.h"
#include "tests/support/seeded_rng.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// validate() never dereferences, so that any address will do as a base.
std::byte* at(uint64_t offset) {
  return reinterpret_cast<std::byte*>(static_cast<uintptr_t>(0x10000000 + offset));
}

/// K and V side by side in each token: [NB=4, BS=2, K|V, H=2, C=8].
KVLayout token_interleaved() {
  const KVPlane key = {.layer = 0,
                       .role = KVRole::kKey,
                       .base = at(0),
                       .block_stride_bytes = 64,
                       .token_stride_bytes = 32,
                       .head_stride_bytes = 8,
                       .num_heads = 2,
                       .content_bytes = 8};
  KVPlane value = key;
  value.role = KVRole::kValue;
  value.base = at(16);
  return {.dtype = DType::kF16, .heads = {2, 0, 2}, .groups = {{2, 4, {key, value}}}};
}

using Change = std::function<void(KVLayout&)>;

Status validate_changed(const Change& change) {
  KVLayout layout = token_interleaved();
  change(layout);
  return validate(layout);
}

KVPlane& key_of(KVLayout& layout) { return layout.groups[0].planes[0]; }
KVPlane& value_of(KVLayout& layout) { return layout.groups[0].planes[1]; }

TEST(ValidateKVLayout, TakesKeysAndValuesThatInterleaveAtAnyDepth) {
  EXPECT_THAT(validate(token_interleaved()), IsOk());
  // [NB, H, BS, K|V, C], as some engines keep content of K beside content of V
  EXPECT_THAT(validate_changed([](KVLayout& layout) {
                for (KVPlane& plane : layout.groups[0].planes) {
                  plane.token_stride_bytes = 16;
                  plane.head_stride_bytes = 32;
                }
                value_of(layout).base = at(8);
              }),
              IsOk());
}

TEST(ValidateKVLayout, TakesKeysAndValuesOfDifferentWidthAndInPageScales) {
  // [NB, BS, 2 x 8 key | 2 x 2 value | 12 of scales]
  EXPECT_THAT(validate_changed([](KVLayout& layout) {
                value_of(layout).content_bytes = 2;
                value_of(layout).head_stride_bytes = 2;
              }),
              IsOk());
}

TEST(ValidateKVLayout, IgnoresStridesOfAxesWithOneEntry) {
  EXPECT_THAT(validate_changed([](KVLayout& layout) {
                for (KVPlane& plane : layout.groups[0].planes) {
                  plane.num_heads = 1;
                  plane.head_stride_bytes = 1;
                }
                value_of(layout).head_stride_bytes = 1 << 20;
              }),
              IsOk());
}

TEST(ValidateKVLayout, LetsGroupsShareOnePool) {
  EXPECT_THAT(validate_changed([](KVLayout& layout) {
                layout.groups.push_back(layout.groups[0]);
                layout.groups[1].block_tokens = 1;
                layout.groups[1].num_blocks = 8;
                for (KVPlane& plane : layout.groups[1].planes) plane.block_stride_bytes = 32;
              }),
              IsOk());
}

struct Refusal {
  const char* what;
  Change change;
};

TEST(ValidateKVLayout, RefusesFieldsOutOfBoundsNamingThem) {
  constexpr auto kMax = std::numeric_limits<int64_t>::max();
  const Refusal refusals[] = {
      {"dtype", [](KVLayout& l) { l.dtype = static_cast<DType>(9); }},
      {"heads",
       [](KVLayout& l) {
         l.heads = {2, 1, 2};
       }},
      {"heads",
       [](KVLayout& l) {
         l.heads = {2, -1, 2};
       }},
      {"heads",
       [](KVLayout& l) {
         l.heads = {2, 0, 0};
       }},
      {"no groups", [](KVLayout& l) { l.groups.clear(); }},
      {"group 0: has no planes", [](KVLayout& l) { l.groups[0].planes.clear(); }},
      {"block_tokens is 0", [](KVLayout& l) { l.groups[0].block_tokens = 0; }},
      {"num_blocks is -4", [](KVLayout& l) { l.groups[0].num_blocks = -4; }},
      {"num_blocks * block_tokens", [](KVLayout& l) { l.groups[0].num_blocks = kMax; }},
      {"layer 0 key: base is null", [](KVLayout& l) { key_of(l).base = nullptr; }},
      {"layer is negative", [](KVLayout& l) { key_of(l).layer = -1; }},
      {"role", [](KVLayout& l) { value_of(l).role = static_cast<KVRole>(3); }},
      {"layer 0 value: num_heads is 0", [](KVLayout& l) { value_of(l).num_heads = 0; }},
      {"content_bytes is -8", [](KVLayout& l) { key_of(l).content_bytes = -8; }},
      {"block_stride_bytes is 0", [](KVLayout& l) { key_of(l).block_stride_bytes = 0; }},
      {"token_stride_bytes is -1", [](KVLayout& l) { key_of(l).token_stride_bytes = -1; }},
      {"head_stride_bytes is 0", [](KVLayout& l) { key_of(l).head_stride_bytes = 0; }},
      {"2^62", [](KVLayout& l) { key_of(l).block_stride_bytes = kMax; }},
      {"ordered", [](KVLayout& l) { std::swap(key_of(l), value_of(l)); }},
      {"each once", [](KVLayout& l) { value_of(l).role = KVRole::kKey; }},
  };
  for (const Refusal& refusal : refusals) {
    EXPECT_THAT(validate_changed(refusal.change),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(refusal.what)));
  }
}

TEST(ValidateKVLayout, RefusesContentsThatOverlap) {
  const Refusal refusals[] = {
      {"group 0 layer 0 key: stride of 7", [](KVLayout& l) { key_of(l).head_stride_bytes = 7; }},
      {"stride of 15", [](KVLayout& l) { key_of(l).token_stride_bytes = 15; }},
      {"stride of 47", [](KVLayout& l) { key_of(l).block_stride_bytes = 47; }},
      {"overlap those of group 0 layer 0 key", [](KVLayout& l) { value_of(l).base = at(15); }},
      {"overlap those of group 0 layer 0 key", [](KVLayout& l) { value_of(l).base = at(128); }},
      {"overlap", [](KVLayout& l) { value_of(l).base = at(17); }},
  };
  for (const Refusal& refusal : refusals) {
    EXPECT_THAT(validate_changed(refusal.change),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(refusal.what)));
  }
}

TEST(ValidateKVLayout, RefusesPlanesThatReachPastTheAddressSpace) {
  EXPECT_THAT(validate_changed([](KVLayout& layout) {
                value_of(layout).base = reinterpret_cast<std::byte*>(~uintptr_t{0} - 100);
              }),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("address space")));
}

/// The bytes that a plane covers, one by one.
std::vector<bool> coverage(const KVGroup& group, const KVPlane& plane, size_t size) {
  std::vector<bool> covered(size, false);
  for (int64_t b = 0; b < group.num_blocks; ++b) {
    for (int64_t t = 0; t < group.block_tokens; ++t) {
      for (int64_t h = 0; h < plane.num_heads; ++h) {
        const auto first =
            static_cast<size_t>(plane.base - at(0) + b * plane.block_stride_bytes +
                                t * plane.token_stride_bytes + h * plane.head_stride_bytes);
        for (int64_t c = 0; c < plane.content_bytes; ++c) {
          covered.at(first + static_cast<size_t>(c)) = true;
        }
      }
    }
  }
  return covered;
}

TEST(ValidateKVLayout, FindsExactlyThePlanesThatShareBytes) {
  SeededRng rng;
  int num_apart = 0;
  for (int round = 0; round < 3000; ++round) {
    KVLayout layout = token_interleaved();
    KVGroup& group = layout.groups[0];
    group.num_blocks = rng.between(1, 4);
    group.block_tokens = static_cast<int32_t>(rng.between(1, 4));
    KVPlane& key = key_of(layout);
    key.num_heads = static_cast<int32_t>(rng.between(1, 3));
    key.content_bytes = rng.between(1, 4);
    std::array<int64_t, 3> counts = {group.num_blocks, group.block_tokens, key.num_heads};
    std::array<int64_t*, 3> strides = {&key.block_stride_bytes, &key.token_stride_bytes,
                                       &key.head_stride_bytes};
    std::array<size_t, 3> order = {0, 1, 2};
    std::shuffle(order.begin(), order.end(), rng);
    int64_t span = key.content_bytes;
    for (size_t axis : order) {
      *strides[axis] = span + rng.between(0, 2 * span);
      span += (counts[axis] - 1) * *strides[axis];
    }
    KVPlane& value = value_of(layout);
    value = key;
    value.role = KVRole::kValue;
    value.content_bytes = rng.between(1, key.content_bytes);
    const int64_t distance = rng.between(0, span + 2);
    (rng.one_in(2) ? key : value).base = at(static_cast<uint64_t>(distance));

    const auto size = static_cast<size_t>(2 * span + 8);
    const std::vector<bool> keys = coverage(group, key, size);
    const std::vector<bool> values = coverage(group, value, size);
    bool share = false;
    for (size_t i = 0; i < size; ++i) share = share || (keys[i] && values[i]);
    num_apart += share ? 0 : 1;
    ASSERT_EQ(validate(layout).is_ok(), !share) << validate(layout).to_string();
  }
  EXPECT_GT(num_apart, 100);
}

TEST(ValidateKVLayout, SurvivesExtremeNumbers) {
  SeededRng rng;
  constexpr auto kMin64 = std::numeric_limits<int64_t>::min();
  constexpr auto kMax64 = std::numeric_limits<int64_t>::max();
  const std::vector<int64_t> extremes = {
      kMin64, -1, 0, 1, 2, 1LL << 31, 1LL << 61, 1LL << 62, (1LL << 62) + 1, kMax64 - 1, kMax64};
  const auto extreme32 = [&] { return static_cast<int32_t>(rng.pick(extremes)); };
  for (int round = 0; round < 20000; ++round) {
    KVLayout layout = token_interleaved();
    const auto sometimes = [&] { return rng.one_in(3); };
    if (sometimes()) layout.groups[0].num_blocks = rng.pick(extremes);
    if (sometimes()) layout.groups[0].block_tokens = extreme32();
    if (sometimes()) layout.heads = {extreme32(), extreme32(), extreme32()};
    for (KVPlane& plane : layout.groups[0].planes) {
      if (sometimes()) plane.base = reinterpret_cast<std::byte*>(rng.pick(extremes));
      if (sometimes()) plane.block_stride_bytes = rng.pick(extremes);
      if (sometimes()) plane.token_stride_bytes = rng.pick(extremes);
      if (sometimes()) plane.head_stride_bytes = rng.pick(extremes);
      if (sometimes()) plane.num_heads = extreme32();
      if (sometimes()) plane.content_bytes = rng.pick(extremes);
    }
    if (validate(layout).is_ok()) {
      ASSERT_GT(layout.token_bytes(), 0);
      ASSERT_GT(layout.groups[0].num_slots(), 0);
    }
  }
}

}  // namespace
}  // namespace kvferry
