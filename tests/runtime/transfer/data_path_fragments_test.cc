#include <algorithm>

#include "tests/support/data_path_pair.h"
#include "tests/support/eventually.h"
#include "tests/support/seeded_rng.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr LeaseId kLanding{3, 4};

Status wait_for_end(const DataPathPair& pair, const DataPathPair::Ends& ends, uint64_t id) {
  std::optional<Status> end;
  EXPECT_TRUE(eventually([&] { return (end = pair.end_of(ends, id)).has_value(); }));
  return end.value_or(Status(StatusCode::kInternal, "never ended"));
}

TEST(DataPathFragments, MovesChunksOfAllSizesBetweenDifferentPagesAndReturnsTheirMemory) {
  DataPathPair pair(DataPathPair::Source::kDataPath);
  uint64_t id = 0;
  for (const int64_t tokens : {1, 16, 17, 255, 256}) {
    const ChunkRef ref = pair.make_ref(1, tokens);
    pair.expect(++id, pair.destination_plan(ref), kLanding);
    pair.send(id, pair.source_plan(ref), kLanding);
    EXPECT_THAT(wait_for_end(pair, pair.received, id), IsOk());
    EXPECT_THAT(wait_for_end(pair, pair.sent, id), IsOk());
    EXPECT_TRUE(pair.is_content(ref)) << tokens;
  }
  EXPECT_TRUE(eventually([&] { return pair.pool->usage().used_slots == 0; }));
}

TEST(DataPathFragments, FragmentsOfChunksUnderWayTogetherDoNotMix) {
  DataPathPair pair(DataPathPair::Source::kDataPath);
  std::vector<std::pair<ChunkPlan, ChunkPlan>> plans;
  for (uint8_t i = 0; i < 3; ++i) {
    const ChunkRef ref = pair.make_ref(static_cast<uint8_t>(i + 1));
    plans.emplace_back(pair.source_plan(ref, i * 16), pair.destination_plan(ref, i * 16));
  }
  for (uint64_t i = 0; i < 3; ++i) pair.expect(i, plans[i].second, {i, i});
  for (uint64_t i = 0; i < 3; ++i) pair.send(i, plans[i].first, {i, i});
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_THAT(wait_for_end(pair, pair.received, i), IsOk());
    EXPECT_TRUE(pair.is_content(plans[i].first.ref, static_cast<int64_t>(i) * 16));
  }
}

TEST(DataPathFragments, ACorruptedByteInAnyFragmentIsFoundAtItsAddress) {
  SeededRng rng;
  int fragment = 0;
  size_t byte = 0;
  DataPathPair pair(DataPathPair::Source::kDataPath, [&](const StagedFragment& staged) {
    if (staged.index == fragment) staged.bytes[byte] ^= std::byte{1};
  });
  const ChunkRef ref = pair.make_ref(1, 200);
  const ChunkPlan plan = pair.source_plan(ref);
  ASSERT_EQ(plan.fragments.size(), 4U);
  uint64_t id = 0;
  for (fragment = 0; fragment < 4; ++fragment) {
    const Fragment& bounds = plan.fragments[static_cast<size_t>(fragment)];
    const auto size = static_cast<size_t>(bounds.size_bytes);
    for (const size_t at : {size_t{0}, size - 1, size / 2, rng.below(size)}) {
      byte = at;
      const auto in_chunk = bounds.offset_bytes + static_cast<int64_t>(at);
      const auto& planes = plan.layout.planes;
      const auto plane = std::find_if(planes.rbegin(), planes.rend(), [&](const ChunkPlane& each) {
        return each.offset_bytes <= in_chunk;
      });
      const int64_t token = (in_chunk - plane->offset_bytes) / plane->row_bytes;
      pair.expect(++id, pair.destination_plan(ref), kLanding);
      pair.send(id, plan, kLanding);
      EXPECT_THAT(
          wait_for_end(pair, pair.received, id),
          StatusIs(StatusCode::kDataLoss,
                   AllOf(HasSubstr("fragment " + std::to_string(fragment) + " "),
                         HasSubstr("layer " + std::to_string(plane->layer) + ","),
                         HasSubstr("tokens from " +
                                   std::to_string(token / kTileTokens * kTileTokens) + " "))))
          << "byte " << at;
      EXPECT_THAT(wait_for_end(pair, pair.sent, id), IsOk()) << "the source comes to rest";
    }
  }
}

/// The receiving DataPath against a sender that does as it likes.
class DataPathIntakeTest : public ::testing::Test {
 protected:
  DataPathIntakeTest() { pair.expect(kId, pair.destination_plan(ref), kLanding); }

  /// Fragment `index` as an honest sender would give it.
  FragmentHeader make_fragment(size_t index, std::vector<std::byte>& payload) {
    const Fragment& fragment = plan.fragments[index];
    FragmentHeader header{kId, kLanding, static_cast<uint32_t>(index), 0, 0, {}};
    header.tile_digests.resize(static_cast<size_t>(plan.num_tiles(fragment)));
    std::vector<std::byte> chunk(pair.chunk_bytes());
    EXPECT_THAT(
        gather(*plan.copy, fragment.plane_begin, fragment.plane_end, chunk, header.tile_digests),
        IsOk());
    const int64_t first = plan.first_tile(fragment);
    const uint64_t sum = tile_sum(first, header.tile_digests);
    header.fragment_digest =
        bind_digest(plan.identity, first, plan.num_tiles(fragment), sum, fragment.size_bytes);
    total += sum;
    header.chunk_digest =
        bind_digest(plan.identity, 0, plan.layout.num_tiles(), total, plan.layout.size_bytes);
    const auto bytes = std::span(chunk).subspan(static_cast<size_t>(fragment.offset_bytes),
                                                static_cast<size_t>(fragment.size_bytes));
    payload.assign(bytes.begin(), bytes.end());
    return header;
  }
  Status offer(size_t index) {
    std::vector<std::byte> payload;
    const FragmentHeader header = make_fragment(index, payload);
    return pair.offer(encode(header), payload);
  }
  void expect_refused(const FragmentHeader& header, std::span<const std::byte> payload) {
    EXPECT_THAT(pair.offer(encode(header), payload), StatusIs(StatusCode::kFailedPrecondition));
  }

  static constexpr uint64_t kId = 7;
  DataPathPair pair{DataPathPair::Source::kBareLink};
  const ChunkRef ref = pair.make_ref(1);
  const ChunkPlan plan = pair.source_plan(ref);
  uint64_t total = 0;
};

TEST_F(DataPathIntakeTest, WrongFragmentsAreRefusedAndDoNoHarmToTheRightOnes) {
  std::vector<std::byte> payload;
  const FragmentHeader right = make_fragment(0, payload);
  total = 0;
  const auto changed = [&](auto change) {
    FragmentHeader header = right;
    change(header);
    return header;
  };
  expect_refused(changed([](auto& h) { h.transfer_id = 8; }), payload);
  expect_refused(changed([](auto& h) { h.landing.id += 1; }), payload);
  expect_refused(changed([](auto& h) { h.landing.generation -= 1; }), payload);
  expect_refused(changed([](auto& h) { h.fragment = 4; }), payload);
  expect_refused(changed([](auto& h) { h.fragment = ~0U; }), payload);
  expect_refused(changed([](auto& h) { h.tile_digests.pop_back(); }), payload);
  expect_refused(changed([](auto& h) { h.tile_digests.push_back(0); }), payload);
  expect_refused(changed([](auto& h) { h.tile_digests.clear(); }), payload);
  expect_refused(right, std::span(payload).first(payload.size() - 1));
  expect_refused(right, {});
  payload.push_back(std::byte{0});
  expect_refused(right, payload);
  SeededRng rng;
  for (size_t size = 0; size < 100; size += 7) {
    EXPECT_THAT(pair.offer(rng.bytes(size), payload), StatusIs(StatusCode::kFailedPrecondition));
  }
  for (size_t i = 0; i < 4; ++i) EXPECT_THAT(offer(i), IsOk());
  EXPECT_THAT(wait_for_end(pair, pair.received, kId), IsOk());
  EXPECT_TRUE(pair.is_content(ref));
}

TEST_F(DataPathIntakeTest, AFragmentIsTakenOnceAndNothingAfterTheEnd) {
  EXPECT_THAT(offer(0), IsOk());
  total = 0;
  EXPECT_THAT(offer(0), StatusIs(StatusCode::kFailedPrecondition));
  for (size_t i = 1; i < 4; ++i) EXPECT_THAT(offer(i), IsOk());
  EXPECT_THAT(wait_for_end(pair, pair.received, kId), IsOk());
  EXPECT_THAT(offer(3), StatusIs(StatusCode::kFailedPrecondition));
}

TEST_F(DataPathIntakeTest, AWrongDigestOfTheWholeChunkIsFound) {
  for (size_t i = 0; i < 4; ++i) {
    std::vector<std::byte> payload;
    FragmentHeader header = make_fragment(i, payload);
    header.chunk_digest ^= 1;
    EXPECT_THAT(pair.offer(encode(header), payload), IsOk());
  }
  EXPECT_THAT(wait_for_end(pair, pair.received, kId),
              StatusIs(StatusCode::kDataLoss, HasSubstr("wrong digest")));
}

TEST_F(DataPathIntakeTest, FragmentsMayComeInAnyOrder) {
  std::vector<std::pair<FragmentHeader, std::vector<std::byte>>> fragments(4);
  for (size_t i = 0; i < 4; ++i) fragments[i].first = make_fragment(i, fragments[i].second);
  for (const size_t i : {3U, 1U, 0U, 2U}) {
    EXPECT_THAT(pair.offer(encode(fragments[i].first), fragments[i].second), IsOk());
  }
  EXPECT_THAT(wait_for_end(pair, pair.received, kId), IsOk());
  EXPECT_TRUE(pair.is_content(ref));
}

TEST_F(DataPathIntakeTest, AChunkExpectedAfterTheCloseKeepsNoMemory) {
  auto late = std::make_shared<IncomingChunk>(
      IncomingChunk{.transfer_id = 8,
                    .plan = pair.destination_plan(ref),
                    .landing_memory = pair.pool->allocate(1).value(),
                    .landing = {8, 8}});
  std::promise<void> quiet;
  pair.receive_executor->post([&] {
    pair.receiver->close([&] { quiet.set_value(); });
    pair.receiver->expect(std::move(late));
  });
  quiet.get_future().wait();
  EXPECT_TRUE(eventually([&] { return pair.pool->usage().used_slots == 0; }));
  run_on(*pair.receive_executor, [&] { pair.receiver.reset(); });
}

}  // namespace
}  // namespace kvferry
