#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <thread>

#include "tests/kernels/paged_copy_properties.h"

namespace kvferry::test {
namespace {

using ::testing::HasSubstr;

class PagedCopyPairs : public ::testing::TestWithParam<PagedCase> {};

TEST_P(PagedCopyPairs, HostPathEqualsNaiveLoopAtEveryLevel) {
  for (SimdLevel level : supported_simd_levels()) {
    SCOPED_TRACE(simd_level_name(level));
    check_host_path(GetParam(), {.store = StoreHint::kStreaming, .simd = level});
  }
  check_host_path(GetParam(), {.store = StoreHint::kCached});
}

TEST_P(PagedCopyPairs, KernelBodyEqualsNaiveLoopAndWritesEachByteOnce) { check_body(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Pairwise, PagedCopyPairs, ::testing::ValuesIn(pairwise_cases()));

constexpr PagedCase kCase{PagePreset::kVllmNhd,   DType::kBF16,          128, 16, 100,
                          Fragmentation::kBlocks, MemoryFormat::kKvL2TD, 0};

// Runs parts on real threads.
class Threads : public ParallelFor {
 public:
  int32_t width() const override { return 3; }
  void run(int32_t parts, const std::function<void(int32_t)>& part) override {
    std::vector<std::jthread> threads;
    for (int32_t i = 0; i < parts; ++i) threads.emplace_back([&part, i] { part(i); });
  }
};

TEST(PagedCopy, PartsOnSeveralThreadsGiveTheSameBytes) {
  Threads threads;
  check_host_path(kCase, {.parallel = &threads});
}

TEST(PagedCopy, PlaneRangeTouchesOnlyItsPlanes) {
  PagedWorld world(kCase, 3);
  const PagedCopy copy = world.copy().value();
  GuardedBuffer chunk(static_cast<size_t>(world.chunk().size_bytes), 0);
  chunk.fill(std::byte{0x77});
  naive_gather(world.layout(), world.chunk(), world.slots(), 1, 3, chunk.bytes());
  const std::vector<std::byte> expected = copy_of(chunk.all());
  std::vector<uint64_t> expected_digests(static_cast<size_t>(2 * copy.tiles_per_plane()));
  ASSERT_THAT(compute_tile_digests(world.chunk(), chunk.bytes(), 1, 3, expected_digests), IsOk());

  chunk.fill(std::byte{0x77});
  std::vector<uint64_t> digests(expected_digests.size());
  ASSERT_THAT(gather(copy, 1, 3, chunk.bytes(), digests), IsOk());
  EXPECT_TRUE(std::ranges::equal(chunk.all(), expected));
  EXPECT_EQ(digests, expected_digests);
}

TEST(PagedCopy, DigestsMayBeLeftOut) {
  PagedWorld world(kCase, 4);
  const PagedCopy copy = world.copy().value();
  GuardedBuffer chunk(static_cast<size_t>(world.chunk().size_bytes), 0);
  const Expected expected = expect_gather(&world, &chunk, std::byte{1});
  ASSERT_THAT(gather(copy, 0, copy.num_planes(), chunk.bytes(), {}), IsOk());
  EXPECT_TRUE(std::ranges::equal(chunk.all(), expected.bytes));
}

TEST(PagedCopy, GroupsOfDifferentBlockSizesUseTheirOwnSlots) {
  PagedCase first = kCase;
  PagedCase second = kCase;
  second.block_tokens = 64;
  second.head_dim = 80;
  PagedWorld a(first, 5);
  PagedWorld b(second, 6);
  KVLayout layout = a.layout();
  layout.groups.push_back(b.layout().groups.front());
  const ChunkLayout chunk_layout =
      make_chunk_layout(MemoryFormat::kKvL2TD, layout, kCase.num_tokens).value();
  const SlotMapping slots[] = {a.slot_values(), b.slot_values()};
  const PagedCopy copy = PagedCopy::create(layout, chunk_layout, slots).value();
  GuardedBuffer chunk(copy.chunk_bytes(), 0);
  naive_gather(layout, chunk_layout, slots, 0, copy.num_planes(), chunk.bytes());
  const std::vector<std::byte> expected = copy_of(chunk.all());
  chunk.fill(std::byte{0x11});
  std::vector<uint64_t> digests(static_cast<size_t>(chunk_layout.num_tiles()));
  ASSERT_THAT(gather(copy, 0, copy.num_planes(), chunk.bytes(), digests), IsOk());
  EXPECT_TRUE(std::ranges::equal(chunk.all(), expected));
}

// LMCache's kernels once failed here with 32-bit products.
TEST(PagedCopy, ReachesPastTwoToThe31Elements) {
  const PagedShape shape{.num_layers = 1,
                         .num_blocks = 140'000,
                         .block_tokens = 16,
                         .num_heads = 8,
                         .head_dim = 128,
                         .dtype = DType::kBF16};
  const auto bytes = static_cast<size_t>(buffer_bytes(PagePreset::kVllmNhd, shape));
  void* map = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) GTEST_SKIP() << "no address space for " << bytes << " bytes";
  std::byte* const base[] = {static_cast<std::byte*>(map)};
  const KVLayout layout = make_kv_layout(PagePreset::kVllmNhd, shape, base).value();
  std::vector<int64_t> slots(16);
  std::iota(slots.begin(), slots.end(), layout.groups[0].num_slots() - 20);
  ASSERT_GT(slots[0] * 8 * 128, int64_t{1} << 31);
  const ChunkLayout chunk_layout = make_chunk_layout(MemoryFormat::kKvL2TD, layout, 16).value();
  const SlotMapping mapping[] = {slots};
  const PagedCopy copy = PagedCopy::create(layout, chunk_layout, mapping).value();

  std::vector<std::byte> source(copy.chunk_bytes());
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::byte>(i * 7 / 3);
  naive_scatter(layout, chunk_layout, mapping, 0, 2, source);
  std::vector<std::byte> chunk(source.size());
  std::vector<uint64_t> digests(2);
  EXPECT_THAT(gather(copy, 0, 2, chunk, digests), IsOk());
  EXPECT_EQ(chunk, source);

  std::ranges::fill(chunk, std::byte{0});
  ShadowMemory memory;
  memory.add(chunk);
  const auto used = static_cast<size_t>(layout.groups[0].planes[1].base - base[0]);
  for (size_t end : {used, bytes}) memory.add({base[0] + end - (1 << 20), size_t{1} << 20});
  add_descriptors(copy, digests, &memory);
  run_body_on_host<CopyDirection::kGather>(device_copy(copy, 0, 2, chunk, &digests),
                                           copy.alignment(), &memory);
  EXPECT_EQ(memory.complaint(), "");
  EXPECT_EQ(chunk, source);
  ::munmap(map, bytes);
}

TEST(PagedCopy, SlotPastTheCacheIsOutOfRange) {
  PagedWorld world(kCase, 7);
  world.slot_values()[9] = world.layout().groups[0].num_slots();
  EXPECT_THAT(world.copy(), StatusIs(StatusCode::kOutOfRange, HasSubstr("group 0")));
}

TEST(PagedCopy, CountsThatDoNotFitAreRefused) {
  PagedWorld world(kCase, 8);
  const SlotMapping short_mapping[] = {SlotMapping(world.slot_values()).first(99)};
  EXPECT_THAT(PagedCopy::create(world.layout(), world.chunk(), short_mapping),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("99 slots for 100 tokens")));
  EXPECT_THAT(PagedCopy::create(world.layout(), world.chunk(), {}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("groups")));
}

TEST(PagedCopy, LayoutsThatDoNotFitOneAnotherAreRefused) {
  PagedWorld world(kCase, 9);
  const auto refused = [&](const ChunkLayout& chunk) {
    return PagedCopy::create(world.layout(), chunk, world.slots());
  };
  const auto is_invalid = [](const char* text) {
    return StatusIs(StatusCode::kInvalidArgument, HasSubstr(text));
  };
  ChunkLayout chunk = world.chunk();
  chunk.planes.pop_back();
  EXPECT_THAT(refused(chunk), is_invalid("planes"));
  chunk = world.chunk();
  chunk.planes[1].row_bytes /= 2;
  EXPECT_THAT(refused(chunk), is_invalid("row_bytes"));
  chunk = world.chunk();
  std::swap(chunk.planes[0], chunk.planes[1]);
  EXPECT_THAT(refused(chunk), is_invalid("role"));
  chunk = world.chunk();
  chunk.size_bytes -= 1;
  EXPECT_THAT(refused(chunk), is_invalid("do not fit a chunk"));
  chunk = world.chunk();
  chunk.dtype = DType::kF16;
  EXPECT_THAT(refused(chunk), is_invalid("dtype"));
}

TEST(PagedCopy, WrongSpansAndPlanesAreRefusedAndNothingIsWritten) {
  PagedWorld world(kCase, 10);
  const PagedCopy copy = world.copy().value();
  std::vector<std::byte> chunk(copy.chunk_bytes(), std::byte{3});
  const std::vector<std::byte> untouched = chunk;
  const std::vector<std::byte> pages = world.snapshot();
  std::vector<uint64_t> digests(static_cast<size_t>(world.chunk().num_tiles()));
  const auto is_invalid = StatusIs(StatusCode::kInvalidArgument, HasSubstr(""));
  const std::span<std::byte> bytes(chunk);
  EXPECT_THAT(gather(copy, 0, 4, bytes.first(bytes.size() - 1), digests), is_invalid);
  EXPECT_THAT(gather(copy, 0, 3, bytes, digests), is_invalid);
  EXPECT_THAT(gather(copy, -1, 4, bytes, {}), is_invalid);
  EXPECT_THAT(gather(copy, 3, 2, bytes, {}), is_invalid);
  EXPECT_THAT(scatter(copy, 0, 5, bytes, {}), is_invalid);
  EXPECT_THAT(scatter(copy, 0, 4, bytes.first(1), digests), is_invalid);
  EXPECT_EQ(chunk, untouched);
  EXPECT_TRUE(world.snapshot() == pages);
}

}  // namespace
}  // namespace kvferry::test
