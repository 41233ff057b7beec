#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "tests/kernels/paged_copy_case.h"
#include "tests/support/host_warp.h"
#include "tests/support/status_matchers.h"

namespace kvferry::test {

inline std::vector<std::byte> copy_of(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

/// What gather must leave in the chunk and its canaries, over `poison`, and the digests.
struct Expected {
  std::vector<std::byte> bytes;
  std::vector<uint64_t> digests;
};

inline Expected expect_gather(PagedWorld* world, GuardedBuffer* chunk, std::byte poison) {
  chunk->fill(poison);
  naive_gather(world->layout(), world->chunk(), world->slots(), 0, world->num_planes(),
               chunk->bytes());
  Expected expected{copy_of(chunk->all()),
                    std::vector<uint64_t>(static_cast<size_t>(world->chunk().num_tiles()))};
  EXPECT_THAT(compute_tile_digests(world->chunk(), chunk->bytes(), 0, world->num_planes(),
                                   expected.digests),
              IsOk());
  chunk->fill(poison);
  return expected;
}

inline Expected expect_scatter(PagedWorld* world, GuardedBuffer* chunk, std::byte poison) {
  world->fill_pages(poison);
  naive_scatter(world->layout(), world->chunk(), world->slots(), 0, world->num_planes(),
                chunk->bytes());
  Expected expected{world->snapshot(),
                    std::vector<uint64_t>(static_cast<size_t>(world->chunk().num_tiles()))};
  EXPECT_THAT(compute_tile_digests(world->chunk(), chunk->bytes(), 0, world->num_planes(),
                                   expected.digests),
              IsOk());
  world->fill_pages(poison);
  return expected;
}

/// Host path at one level: bytes, canaries and digests equal the naive loop's over two poisons, so
/// that neither a missing nor an extra write stays unseen.
inline void check_host_path(const PagedCase& c, HostCopyOptions options) {
  PagedWorld world(c, 1);
  GuardedBuffer chunk(static_cast<size_t>(world.chunk().size_bytes), c.misalignment);
  const Result<PagedCopy> copy = world.copy();
  ASSERT_THAT(copy, IsOk());
  std::vector<uint64_t> digests(static_cast<size_t>(world.chunk().num_tiles()));
  for (std::byte poison : {std::byte{0x5A}, std::byte{0xA5}}) {
    const Expected gathered = expect_gather(&world, &chunk, poison);
    ASSERT_THAT(gather(*copy, 0, world.num_planes(), chunk.bytes(), digests, options), IsOk());
    ASSERT_TRUE(std::ranges::equal(chunk.all(), gathered.bytes)) << "gathered bytes";
    ASSERT_EQ(digests, gathered.digests);
  }
  world.randomise(chunk.bytes());
  for (std::byte poison : {std::byte{0x5A}, std::byte{0xA5}}) {
    const Expected scattered = expect_scatter(&world, &chunk, poison);
    ASSERT_THAT(scatter(*copy, 0, world.num_planes(), chunk.bytes(), digests, options), IsOk());
    ASSERT_TRUE(world.snapshot() == scattered.bytes) << "scattered bytes";
    ASSERT_EQ(digests, scattered.digests);
  }
}

/// What a kernel is given, all of it in host memory.
inline PagedCopyDevice device_copy(const PagedCopy& copy, int32_t plane_begin, int32_t plane_end,
                                   std::span<std::byte> chunk, std::vector<uint64_t>* digests) {
  return {.planes = copy.planes().data(),
          .slots = copy.slots().data(),
          .chunk = chunk.data(),
          .tile_digests = digests->data(),
          .num_tokens = copy.num_tokens(),
          .plane_begin = plane_begin,
          .plane_end = plane_end};
}

/// Planes, slots and digests, which a body reads and writes besides.
inline void add_descriptors(const PagedCopy& copy, std::vector<uint64_t>& digests,
                            ShadowMemory* memory) {
  const auto bytes_of = [](auto span) {
    return std::span<std::byte>(
        reinterpret_cast<std::byte*>(const_cast<void*>(static_cast<const void*>(span.data()))),
        span.size_bytes());
  };
  memory->add(bytes_of(copy.planes()));
  memory->add(bytes_of(copy.slots()));
  memory->add(bytes_of(std::span(digests)));
}

/// The kernel's body: as above, and every access aligned, inside its buffer, each byte of the
/// destination written at most once (with the comparison: exactly once).
inline void check_body(const PagedCase& c) {
  PagedWorld world(c, 2);
  GuardedBuffer chunk(static_cast<size_t>(world.chunk().size_bytes), c.misalignment);
  const Result<PagedCopy> copy = world.copy();
  ASSERT_THAT(copy, IsOk());
  std::vector<uint64_t> digests(static_cast<size_t>(world.chunk().num_tiles()));
  const PagedCopyDevice device = device_copy(*copy, 0, copy->num_planes(), chunk.bytes(), &digests);
  ShadowMemory memory;
  memory.add(chunk.bytes());
  for (GuardedBuffer& buffer : world.pages()) memory.add(buffer.bytes());
  add_descriptors(*copy, digests, &memory);

  const Expected gathered = expect_gather(&world, &chunk, std::byte{0x5A});
  run_body_on_host<CopyDirection::kGather>(device, copy->alignment(), &memory);
  ASSERT_EQ(memory.complaint(), "");
  ASSERT_TRUE(std::ranges::equal(chunk.all(), gathered.bytes)) << "gathered bytes";
  ASSERT_EQ(digests, gathered.digests);
  ASSERT_TRUE(std::ranges::all_of(memory.writes(0), [](uint8_t n) { return n == 1; }));

  world.randomise(chunk.bytes());
  const Expected scattered = expect_scatter(&world, &chunk, std::byte{0xA5});
  run_body_on_host<CopyDirection::kScatter>(device, copy->alignment(), &memory);
  ASSERT_EQ(memory.complaint(), "");
  ASSERT_TRUE(world.snapshot() == scattered.bytes) << "scattered bytes";
  ASSERT_EQ(digests, scattered.digests);
  for (size_t region = 1; region <= world.pages().size(); ++region) {
    ASSERT_TRUE(std::ranges::all_of(memory.writes(region), [](uint8_t n) { return n <= 1; }));
  }
}

}  // namespace kvferry::test
