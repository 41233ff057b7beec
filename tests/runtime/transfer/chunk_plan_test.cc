#include <algorithm>

#include "kernels/paged_copy.h"
#include "runtime/control/messages.h"
#include "runtime/transfer/chunk_transfer.h"
#include "tests/support/status_matchers.h"
#include "workload/engine/paged_kv_cache.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

/// A layout of `model` whose pages are addresses that nobody reads.
KVLayout layout_of(const ModelShape& model, PagePreset preset) {
  const PagedShape shape = model.paged_shape(64);
  static std::byte anchor{};
  std::vector<std::byte*> buffers;
  buffers.reserve(static_cast<size_t>(num_buffers(preset, shape)));
  const int64_t step = buffer_bytes(preset, shape);
  for (int32_t i = 0; i < num_buffers(preset, shape); ++i) buffers.push_back(&anchor + i * step);
  return make_kv_layout(preset, shape, buffers).value();
}

ChunkRef ref_of(const ModelShape& model, int64_t num_tokens) {
  ChunkRef ref;
  ref.key.model = model.name;
  ref.key.dtype = model.dtype;
  ref.key.chunk_hash.bytes.fill(7);
  ref.token_begin = 256;
  ref.token_end = 256 + num_tokens;
  return ref;
}

PagedChunk pages_of(const KVLayout& layout, int64_t num_tokens) {
  PagedChunk pages{&layout, {}};
  for (int64_t i = 0; i < num_tokens; ++i) pages.slots.push_back(i);
  return pages;
}

ChunkPlan plan_of(const KVLayout& layout, const ChunkRef& ref, int64_t fragment_bytes = 512 << 10) {
  return plan_chunk(ref, pages_of(layout, ref.num_tokens()), fragment_bytes).value();
}

TEST(ChunkPlan, FragmentsCoverTheChunkOnceAndTheirHeadersFitTheLink) {
  for (const ModelShape& model : list_models()) {
    const KVLayout layout = layout_of(model, model.preset);
    for (const int64_t tokens : {1, 15, 16, 17, 100, 255, 256}) {
      for (const size_t max_header : {size_t{400}, size_t{1024}, size_t{8192}, size_t{65536}}) {
        for (const int64_t target : {int64_t{1}, int64_t{128} << 10, int64_t{1} << 40}) {
          const int64_t fit = fit_fragment_bytes(layout, target, max_header, tokens);
          ASSERT_GE(fit, 1);
          ASSERT_LE(fit, target);
          const ChunkPlan plan = plan_of(layout, ref_of(model, tokens), fit);
          int64_t tiles = 0;
          int64_t bytes = 0;
          for (const Fragment& fragment : plan.fragments) {
            EXPECT_EQ(plan.first_tile(fragment), tiles);
            EXPECT_EQ(fragment.offset_bytes, bytes);
            tiles += plan.num_tiles(fragment);
            bytes += fragment.size_bytes;
            EXPECT_LE(fragment_header_bytes(static_cast<size_t>(plan.num_tiles(fragment))),
                      max_header)
                << model.name << ", " << tokens << " tokens, target " << target;
          }
          EXPECT_EQ(tiles, plan.layout.num_tiles());
          EXPECT_EQ(bytes, plan.layout.size_bytes);
        }
      }
    }
  }
}

TEST(ChunkPlan, BothSidesAgreeWhateverTheirPagesLookLike) {
  const ModelShape model = find_model("qwen2.5-0.5b").value();
  const ChunkRef ref = ref_of(model, 200);
  const ChunkPlan first = plan_of(layout_of(model, PagePreset::kVllmNhd), ref);
  for (const PagePreset preset :
       {PagePreset::kVllmHnd, PagePreset::kFlashInfer, PagePreset::kCrossLayer}) {
    const ChunkPlan other = plan_of(layout_of(model, preset), ref);
    EXPECT_EQ(other.identity, first.identity) << page_preset_name(preset);
    EXPECT_EQ(other.layout, first.layout);
    EXPECT_EQ(other.fragments, first.fragments);
  }
}

TEST(ChunkPlan, TheIdentityDiffersByKeyRangeAndLayout) {
  const ModelShape model = find_model("qwen2.5-0.5b").value();
  const KVLayout layout = layout_of(model, model.preset);
  const ChunkRef ref = ref_of(model, 256);
  const ChunkIdentity identity = plan_of(layout, ref).identity;
  std::vector<ChunkIdentity> others;

  ChunkRef other = ref;
  other.key.chunk_hash.bytes[31] ^= 1;
  others.push_back(plan_of(layout, other).identity);
  other = ref;
  other.key.worker_id = 1;
  other.key.world_size = 2;
  others.push_back(plan_of(layout, other).identity);
  other = ref;
  other.token_begin += 256;
  other.token_end += 256;
  others.push_back(plan_of(layout, other).identity);
  others.push_back(plan_of(layout, ref_of(model, 255)).identity);

  ModelShape other_model = model;
  other_model.head_dim = 32;
  others.push_back(plan_of(layout_of(other_model, model.preset), ref).identity);
  other_model = model;
  other_model.num_layers -= 1;
  others.push_back(plan_of(layout_of(other_model, model.preset), ref).identity);
  other_model = model;
  other_model.dtype = DType::kF16;
  others.push_back(plan_of(layout_of(other_model, model.preset), ref).identity);

  others.push_back(identity);
  for (size_t i = 0; i < others.size(); ++i) {
    EXPECT_EQ(std::ranges::count(others, others[i]), 1) << i;
    EXPECT_EQ(bind_digest(others[i], 0, 1, 1, 1) == bind_digest(identity, 0, 1, 1, 1),
              i + 1 == others.size());
  }
}

TEST(ChunkPlan, WhatDoesNotFitTheChunkIsNamed) {
  const ModelShape model = find_model("qwen2.5-0.5b").value();
  const KVLayout layout = layout_of(model, model.preset);
  const ChunkRef ref = ref_of(model, 32);
  EXPECT_THAT(plan_chunk(ref, PagedChunk{}, 1),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("layout")));
  EXPECT_THAT(plan_chunk(ref, pages_of(layout, 31), 1),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("31 slots")));
  EXPECT_THAT(plan_chunk(ref_of(model, 0), pages_of(layout, 0), 1),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(plan_chunk(ref, pages_of(layout, 32), 0), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(plan_chunk(ref, pages_of(layout, 32), -1), StatusIs(StatusCode::kInvalidArgument));
  PagedChunk pages = pages_of(layout, 32);
  pages.slots[5] = layout.groups[0].num_slots();
  EXPECT_THAT(plan_chunk(ref, pages, 1), StatusIs(StatusCode::kOutOfRange));
}

}  // namespace
}  // namespace kvferry
