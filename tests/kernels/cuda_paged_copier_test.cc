#include "kernels/cuda_paged_copier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "cuda/cuda_event.h"
#include "cuda/cuda_stream.h"
#include "cuda/device_copy.h"
#include "cuda/device_memory.h"
#include "cuda/host_registration.h"
#include "cuda/pinned_memory.h"
#include "tests/kernels/paged_copy_properties.h"
#include "tests/support/cuda_test.h"

namespace kvferry::test {
namespace {

using ::testing::HasSubstr;

/// The pages of a PagedWorld in device memory, canaries and misalignment too.
class DevicePages {
 public:
  explicit DevicePages(PagedWorld* world) : world_(world), layout_(world->layout()) {
    layout_.device = Device::cuda(0);
    for (GuardedBuffer& buffer : world_->pages()) {
      const std::span<std::byte> all = buffer.all();
      const size_t shift = reinterpret_cast<uintptr_t>(all.data()) % 64;
      memory_.push_back(DeviceMemory::create(0, all.size() + shift).value());
      addresses_.push_back(memory_.back().data() + shift);
      for (KVPlane& plane : layout_.groups[0].planes) {
        if (plane.base < all.data() || plane.base >= all.data() + all.size()) continue;
        plane.base = addresses_.back() + (plane.base - all.data());
      }
    }
    upload();
  }

  void upload() {
    for (size_t i = 0; i < addresses_.size(); ++i)
      write_device(addresses_[i], world_->pages()[i].all());
  }
  /// As PagedWorld::snapshot(), of the device.
  std::vector<std::byte> snapshot() const {
    std::vector<std::byte> all;
    for (size_t i = 0; i < addresses_.size(); ++i) {
      const auto bytes = read_device(addresses_[i], world_->pages()[i].all().size());
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  }
  const KVLayout& layout() const { return layout_; }
  std::byte* address(size_t buffer) const { return addresses_[buffer]; }
  Result<PagedCopy> copy() const {
    return PagedCopy::create(layout_, world_->chunk(), world_->slots());
  }

 private:
  PagedWorld* world_;
  KVLayout layout_;
  std::vector<DeviceMemory> memory_;
  std::vector<std::byte*> addresses_;
};

enum class ChunkPlace : uint8_t { kPinned, kRegistered, kDevice };

/// A chunk with canaries, where a copier can reach it.
class ChunkMemory {
 public:
  ChunkMemory(size_t bytes, size_t misalignment, ChunkPlace place)
      : host_(bytes, misalignment), begin_(host_.all().data()) {
    const size_t shift = reinterpret_cast<uintptr_t>(begin_) % 64;
    const size_t size = host_.all().size();
    if (place == ChunkPlace::kRegistered) {
      registration_ = HostRegistration::create(host_.all()).value();
    } else if (place == ChunkPlace::kPinned) {
      pinned_ = PinnedMemory::create(size + shift).value();
      begin_ = pinned_->data() + shift;
    } else {
      device_ = DeviceMemory::create(0, size + shift).value();
      begin_ = device_->data() + shift;
    }
  }

  std::span<std::byte> bytes() { return {begin_ + GuardedBuffer::kGuard, host_.bytes().size()}; }
  void write(std::span<const std::byte> all) {
    if (device_) return write_device(begin_, all);
    std::ranges::copy(all, begin_);
  }
  std::vector<std::byte> read() {
    const size_t size = host_.all().size();
    return device_ ? read_device(begin_, size) : copy_of({begin_, size});
  }

 private:
  GuardedBuffer host_;
  std::byte* begin_;
  std::optional<PinnedMemory> pinned_;
  std::optional<HostRegistration> registration_;
  std::optional<DeviceMemory> device_;
};

/// Progresses until nothing is open.
void finish(PagedCopier* copier) {
  while (copier->num_open() > 0) {
    if (!copier->progress()) std::this_thread::yield();
  }
}

std::unique_ptr<PagedCopier> make_copier(CudaPagedCopierOptions options = {}) {
  options.staging_bytes = std::max(options.staging_bytes, size_t{1} << 20);
  return make_cuda_paged_copier(options).value();
}

/// Copies all planes in two operations, and waits.
void copy_in_two(PagedCopier* copier, const PagedCopy& copy, CopyDirection direction,
                 DevicePath path, std::span<std::byte> chunk, std::span<uint64_t> digests) {
  const int32_t half = copy.num_planes() / 2;
  const auto tiles = static_cast<size_t>(half * copy.tiles_per_plane());
  int done = 0;
  const auto part = [&](int32_t begin, int32_t end, std::span<uint64_t> part_digests) {
    if (begin == end) return;
    copier->enqueue({.direction = direction,
                     .copy = &copy,
                     .plane_begin = begin,
                     .plane_end = end,
                     .chunk = chunk,
                     .tile_digests = part_digests,
                     .path = path,
                     .on_done = [&](const Status& status) {
                       EXPECT_THAT(status, IsOk());
                       ++done;
                     }});
  };
  part(0, half, digests.first(tiles));
  part(half, copy.num_planes(), digests.subspan(tiles));
  EXPECT_EQ(done, 0) << "on_done came from enqueue()";
  finish(copier);
  EXPECT_EQ(done, half > 0 ? 2 : 1);
}

/// Bytes, canaries and digests equal the naive loop's, both ways.
void check_copier(const PagedCase& c, DevicePath path, ChunkPlace place) {
  PagedWorld world(c, 11);
  DevicePages pages(&world);
  const auto size = static_cast<size_t>(world.chunk().size_bytes);
  GuardedBuffer host(size, c.misalignment);
  ChunkMemory chunk(size, c.misalignment, place);
  const Result<PagedCopy> copy = pages.copy();
  ASSERT_THAT(copy, IsOk());
  const auto copier = make_copier();
  std::vector<uint64_t> digests(static_cast<size_t>(world.chunk().num_tiles()));

  const Expected gathered = expect_gather(&world, &host, std::byte{0x5A});
  chunk.write(host.all());
  copy_in_two(copier.get(), *copy, CopyDirection::kGather, path, chunk.bytes(), digests);
  ASSERT_TRUE(chunk.read() == gathered.bytes) << "gathered bytes";
  ASSERT_EQ(digests, gathered.digests);

  world.randomise(host.bytes());
  chunk.write(host.all());
  const Expected scattered = expect_scatter(&world, &host, std::byte{0xA5});
  pages.upload();
  copy_in_two(copier.get(), *copy, CopyDirection::kScatter, path, chunk.bytes(), digests);
  ASSERT_TRUE(pages.snapshot() == scattered.bytes) << "scattered bytes";
  ASSERT_EQ(digests, scattered.digests);
}

class CopierPairs : public CudaTest, public ::testing::WithParamInterface<PagedCase> {};

TEST_P(CopierPairs, EveryPathEqualsNaiveLoop) {
  check_copier(GetParam(), DevicePath::kStaged, ChunkPlace::kPinned);
  check_copier(GetParam(), DevicePath::kDirect, ChunkPlace::kRegistered);
  check_copier(GetParam(), DevicePath::kDirect, ChunkPlace::kDevice);
}

INSTANTIATE_TEST_SUITE_P(Pairwise, CopierPairs, ::testing::ValuesIn(pairwise_cases()));

constexpr PagedCase kCase{PagePreset::kVllmNhd,   DType::kBF16,          64, 16, 100,
                          Fragmentation::kBlocks, MemoryFormat::kKvL2TD, 0};

/// One case in device memory, a copier, and chunks for several operations at a time.
class CudaPagedCopierTest : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    world.emplace(kCase, rng());
    pages.emplace(&*world);
    copy.emplace(pages->copy().value());
    digests.resize(static_cast<size_t>(world->chunk().num_tiles()));
    copier = make_copier();
  }
  void TearDown() override {
    copier.reset();
    chunks.clear();
    pages.reset();
    CudaTest::TearDown();
  }

  size_t chunk_bytes() const { return copy->chunk_bytes(); }
  ChunkMemory& add_chunk(ChunkPlace place = ChunkPlace::kPinned) {
    return *chunks.emplace_back(std::make_unique<ChunkMemory>(chunk_bytes(), 0, place));
  }
  PagedCopyRequest request(CopyDirection direction, std::span<std::byte> chunk, Status* ended) {
    return {.direction = direction,
            .copy = &*copy,
            .plane_begin = 0,
            .plane_end = copy->num_planes(),
            .chunk = chunk,
            .tile_digests = digests,
            .on_done = [ended](Status status) { *ended = std::move(status); }};
  }
  Status run(PagedCopyRequest request) {
    Status ended(StatusCode::kInternal, "on_done did not come");
    request.on_done = [&](Status status) { ended = std::move(status); };
    copier->enqueue(std::move(request));
    finish(copier.get());
    return ended;
  }
  /// What a gather of the world's pages must give.
  std::vector<std::byte> expected_chunk() {
    std::vector<std::byte> chunk(chunk_bytes());
    naive_gather(world->layout(), world->chunk(), world->slots(), 0, world->num_planes(), chunk);
    return chunk;
  }

  std::optional<PagedWorld> world;
  std::optional<DevicePages> pages;
  std::optional<PagedCopy> copy;
  std::vector<uint64_t> digests;
  std::vector<std::unique_ptr<ChunkMemory>> chunks;
  std::unique_ptr<PagedCopier> copier;
};

TEST_F(CudaPagedCopierTest, ManyOperationsThroughFewSlotsKeepTheirBytesAndTheirOrder) {
  constexpr size_t kOperations = 12;
  const auto planes = copy->num_planes();
  const std::vector<std::byte> expected = expected_chunk();
  std::vector<std::vector<uint64_t>> all_digests(kOperations, digests);
  std::vector<size_t> order;
  for (size_t i = 0; i < kOperations; ++i) {
    copier->enqueue({.direction = CopyDirection::kGather,
                     .copy = &*copy,
                     .plane_begin = 0,
                     .plane_end = planes,
                     .chunk = add_chunk().bytes(),
                     .tile_digests = all_digests[i],
                     .path = i % 3 == 2 ? DevicePath::kDirect : DevicePath::kStaged,
                     .on_done = [&, i](const Status& status) {
                       EXPECT_THAT(status, IsOk());
                       // Complete when on_done comes: nobody waits for anything else.
                       EXPECT_TRUE(std::ranges::equal(chunks[i]->bytes(), expected));
                       order.push_back(i);
                     }});
  }
  EXPECT_EQ(copier->num_open(), kOperations);
  finish(copier.get());
  EXPECT_EQ(order.size(), kOperations);
  EXPECT_TRUE(std::ranges::is_sorted(order));
  std::vector<uint64_t> expected_digests(digests.size());
  ASSERT_THAT(compute_tile_digests(world->chunk(), expected, 0, planes, expected_digests), IsOk());
  EXPECT_THAT(all_digests, ::testing::Each(expected_digests));
}

TEST_F(CudaPagedCopierTest, OperationsWithOtherSlotsDoNotMixTheirDescriptors) {
  // Each operation names one other token's slots; descriptors of one must not reach another.
  std::vector<std::vector<int64_t>> slots;
  std::vector<PagedCopy> copies;
  std::vector<std::vector<uint64_t>> all_digests;
  for (size_t i = 0; i < 9; ++i) {
    std::vector<int64_t> rotated = world->slot_values();
    std::rotate(rotated.begin(), rotated.begin() + static_cast<int64_t>(i * 7), rotated.end());
    slots.push_back(std::move(rotated));
  }
  KVLayout layout = pages->layout();
  for (const std::vector<int64_t>& own : slots) {
    const SlotMapping mapping[] = {own};
    copies.push_back(PagedCopy::create(layout, world->chunk(), mapping).value());
    all_digests.push_back(digests);
  }
  for (size_t i = 0; i < copies.size(); ++i) {
    copier->enqueue({.direction = CopyDirection::kGather,
                     .copy = &copies[i],
                     .plane_begin = 0,
                     .plane_end = copy->num_planes(),
                     .chunk = add_chunk().bytes(),
                     .tile_digests = all_digests[i],
                     .on_done = [](const Status& status) { EXPECT_THAT(status, IsOk()); }});
  }
  finish(copier.get());
  for (size_t i = 0; i < slots.size(); ++i) {
    std::vector<std::byte> expected(chunk_bytes());
    const SlotMapping mapping[] = {slots[i]};
    naive_gather(world->layout(), world->chunk(), mapping, 0, world->num_planes(), expected);
    EXPECT_TRUE(std::ranges::equal(chunks[i]->bytes(), expected)) << "operation " << i;
  }
}

/// An engine's stream that has much to do before it touches the pages' first buffer.
class BusyEngine {
 public:
  BusyEngine() : stream_(CudaStream::create(0).value()), event_(CudaEvent::create(0).value()) {}

  /// Copies `to` from `from` after other work; the event follows it.
  void copy_late(std::byte* to, const std::byte* from, size_t bytes) {
    const PinnedMemory& scratch = scratch_.emplace(PinnedMemory::create(2 * bytes).value());
    for (int i = 0; i < 40; ++i) {
      ASSERT_THAT(copy_async(scratch.data(), scratch.data() + bytes, bytes, stream_.view()),
                  IsOk());
    }
    ASSERT_THAT(copy_async(to, from, bytes, stream_.view()), IsOk());
    ASSERT_THAT(event_.record(stream_.view()), IsOk());
  }
  CUevent_st* event() const { return event_.get(); }
  ~BusyEngine() { EXPECT_THAT(stream_.view().synchronize(), IsOk()); }

 private:
  std::optional<PinnedMemory> scratch_;
  CudaStream stream_;
  CudaEvent event_;
};

TEST_F(CudaPagedCopierTest, GatherWaitsForTheEngineThatWritesThePages) {
  for (DevicePath path : {DevicePath::kStaged, DevicePath::kDirect}) {
    GuardedBuffer& first = world->pages()[0];
    const auto fresh = PinnedMemory::create(first.all().size()).value();
    world->randomise(first.bytes());
    std::ranges::copy(first.all(), fresh.data());
    BusyEngine engine;
    engine.copy_late(pages->address(0), fresh.data(), fresh.size());
    ChunkMemory& chunk = add_chunk();
    Status ended;
    PagedCopyRequest gather = request(CopyDirection::kGather, chunk.bytes(), &ended);
    gather.path = path;
    gather.after = engine.event();
    const std::vector<std::byte> expected = expected_chunk();
    EXPECT_THAT(run(std::move(gather)), IsOk());
    EXPECT_TRUE(std::ranges::equal(chunk.bytes(), expected));
  }
}

TEST_F(CudaPagedCopierTest, ScatterWaitsForTheEngineThatReadsThePages) {
  for (DevicePath path : {DevicePath::kStaged, DevicePath::kDirect}) {
    const std::span<std::byte> before = world->pages()[0].all();
    const auto seen = PinnedMemory::create(before.size()).value();
    ChunkMemory& chunk = add_chunk();
    world->randomise(chunk.bytes());
    {
      BusyEngine engine;
      engine.copy_late(seen.data(), pages->address(0), seen.size());
      Status ended;
      PagedCopyRequest scatter = request(CopyDirection::kScatter, chunk.bytes(), &ended);
      scatter.path = path;
      scatter.after = engine.event();
      EXPECT_THAT(run(std::move(scatter)), IsOk());
    }
    EXPECT_TRUE(std::ranges::equal(seen.bytes(), before)) << "the engine read what came later";
    pages->upload();
  }
}

TEST_F(CudaPagedCopierTest, DigestsMayBeLeftOut) {
  ChunkMemory& chunk = add_chunk();
  Status ended;
  PagedCopyRequest gather = request(CopyDirection::kGather, chunk.bytes(), &ended);
  gather.tile_digests = {};
  EXPECT_THAT(run(std::move(gather)), IsOk());
  EXPECT_TRUE(std::ranges::equal(chunk.bytes(), expected_chunk()));
}

TEST_F(CudaPagedCopierTest, ClosingEndsWhatIsUnderWayAndCancelsWhatWaits) {
  std::vector<Status> ends;
  std::vector<std::vector<uint64_t>> all_digests(5, digests);
  for (size_t i = 0; i < 5; ++i) {
    Status ignored;
    PagedCopyRequest gather = request(CopyDirection::kGather, add_chunk().bytes(), &ignored);
    gather.tile_digests = all_digests[i];
    gather.on_done = [&](Status status) { ends.push_back(std::move(status)); };
    copier->enqueue(std::move(gather));
  }
  copier.reset();
  ASSERT_EQ(ends.size(), 5U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_THAT(ends[i], IsOk());
    EXPECT_TRUE(std::ranges::equal(chunks[i]->bytes(), expected_chunk()));
  }
  EXPECT_THAT(ends[3], StatusIs(StatusCode::kCancelled, HasSubstr("closed")));
  EXPECT_THAT(ends[4], StatusIs(StatusCode::kCancelled, HasSubstr("closed")));
}

TEST_F(CudaPagedCopierTest, WrongRequestsEndWithAnErrorAndTheNextOneIsServed) {
  ChunkMemory& chunk = add_chunk();
  const auto gather = [&] {
    Status ignored;
    return request(CopyDirection::kGather, chunk.bytes(), &ignored);
  };
  const auto is_invalid = [](const char* text) {
    return StatusIs(StatusCode::kInvalidArgument, HasSubstr(text));
  };
  PagedCopyRequest wrong = gather();
  wrong.plane_end += 1;
  EXPECT_THAT(run(std::move(wrong)), is_invalid("planes [0, 5) asked for; the copy has 4"));
  wrong = gather();
  wrong.plane_begin = -1;
  EXPECT_THAT(run(std::move(wrong)), is_invalid("planes [-1"));
  wrong = gather();
  wrong.chunk = wrong.chunk.first(1);
  EXPECT_THAT(run(std::move(wrong)), is_invalid("chunk span of 1 bytes"));
  wrong = gather();
  wrong.tile_digests = wrong.tile_digests.first(1);
  EXPECT_THAT(run(std::move(wrong)), is_invalid("1 digests"));
  std::vector<std::byte> pageable(chunk_bytes());
  wrong = gather();
  wrong.chunk = pageable;
  EXPECT_THAT(run(std::move(wrong)), is_invalid("pageable"));
  const PagedCopy on_host = world->copy().value();
  wrong = gather();
  wrong.copy = &on_host;
  EXPECT_THAT(run(std::move(wrong)), is_invalid("the pages lie on host"));
  EXPECT_THAT(run(gather()), IsOk());
  EXPECT_TRUE(std::ranges::equal(chunk.bytes(), expected_chunk()));
}

TEST_F(CudaPagedCopierTest, WhatDoesNotFitTheOptionsSaysWhichToRaise) {
  const auto refused = [&](const CudaPagedCopierOptions& options) {
    copier = make_cuda_paged_copier(options).value();
    Status ignored;
    PagedCopyRequest staged = request(CopyDirection::kGather, add_chunk().bytes(), &ignored);
    staged.path = DevicePath::kStaged;
    return run(std::move(staged));
  };
  const auto is_exhausted = [](const char* text) {
    return StatusIs(StatusCode::kResourceExhausted, HasSubstr(text));
  };
  EXPECT_THAT(refused({.staging_bytes = chunk_bytes() - 1}), is_exhausted("staging_bytes is"));
  EXPECT_THAT(refused({.descriptor_bytes = 800}), is_exhausted("descriptor_bytes is 800"));
  EXPECT_THAT(refused({.max_tiles = 27}), is_exhausted("max_tiles is 27"));
  EXPECT_THAT(refused({.staging_bytes = chunk_bytes()}), IsOk());
}

TEST_F(CudaPagedCopierTest, WhatDoesNotFitStagingGoesDirectlyUnlessAskedOtherwise) {
  copier = make_cuda_paged_copier({.staging_bytes = 1}).value();
  ChunkMemory& chunk = add_chunk();
  Status ignored;
  EXPECT_THAT(run(request(CopyDirection::kGather, chunk.bytes(), &ignored)), IsOk());
  EXPECT_TRUE(std::ranges::equal(chunk.bytes(), expected_chunk()));
}

TEST_F(CudaPagedCopierTest, WrongOptionsAreRefusedByName) {
  const auto refused = [](const CudaPagedCopierOptions& options, const char* name) {
    EXPECT_THAT(make_cuda_paged_copier(options),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(name)));
  };
  refused({.num_slots = 0}, "num_slots");
  refused({.staging_bytes = 0}, "staging_bytes");
  refused({.descriptor_bytes = 0}, "descriptor_bytes");
  refused({.max_tiles = 0}, "max_tiles");
  refused({.link_thread_blocks = -1}, "thread blocks");
  EXPECT_THAT(make_cuda_paged_copier({.device = 99}), StatusIs(StatusCode::kInvalidArgument));
}

class CudaPagedCopierReach : public CudaTest {};

// LMCache's kernels once failed here with 32-bit products.
TEST_F(CudaPagedCopierReach, PagesPastTwoToThe31ElementsAreReached) {
  const PagedShape shape{.num_layers = 1,
                         .num_blocks = 140'000,
                         .block_tokens = 16,
                         .num_heads = 8,
                         .head_dim = 128,
                         .dtype = DType::kBF16};
  const auto bytes = static_cast<size_t>(buffer_bytes(PagePreset::kVllmNhd, shape));
  const auto memory = DeviceMemory::create(0, bytes);
  if (!memory) GTEST_SKIP() << memory.error().message();
  std::byte* const base[] = {memory->data()};
  KVLayout layout = make_kv_layout(PagePreset::kVllmNhd, shape, base).value();
  layout.device = Device::cuda(0);
  std::vector<int64_t> slots(16);
  std::iota(slots.begin(), slots.end(), layout.groups[0].num_slots() - 20);
  const ChunkLayout chunk_layout = make_chunk_layout(MemoryFormat::kKvL2TD, layout, 16).value();
  const SlotMapping mapping[] = {slots};
  const PagedCopy copy = PagedCopy::create(layout, chunk_layout, mapping).value();
  std::vector<uint64_t> digests(2);
  std::vector<uint64_t> gathered_digests(2);
  ChunkMemory source(copy.chunk_bytes(), 0, ChunkPlace::kPinned);
  ChunkMemory chunk(copy.chunk_bytes(), 0, ChunkPlace::kPinned);
  rng.fill(source.bytes());
  const auto copier = make_copier();
  copy_in_two(copier.get(), copy, CopyDirection::kScatter, DevicePath::kStaged, source.bytes(),
              digests);
  copy_in_two(copier.get(), copy, CopyDirection::kGather, DevicePath::kStaged, chunk.bytes(),
              gathered_digests);
  EXPECT_TRUE(std::ranges::equal(chunk.bytes(), source.bytes()));
  EXPECT_EQ(digests, gathered_digests);
  // Where the last of those tokens must lie, by the layout's own formula.
  const KVPlane& values = layout.groups[0].planes[1];
  const std::byte* last = values.base + (slots[15] / 16) * values.block_stride_bytes +
                          (slots[15] % 16) * values.token_stride_bytes;
  EXPECT_TRUE(std::ranges::equal(read_device(last, 2048), source.bytes().last(2048)));
}

}  // namespace
}  // namespace kvferry::test
