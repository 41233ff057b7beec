#include "runtime/transfer/data_path.h"

#include <gtest/gtest.h>

#include <future>
#include <numeric>
#include <optional>

#include "kernels/host_paged_copier.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "tests/support/engine_pair.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kFragmentBytes = 128 * 1024;
constexpr auto kLimit = std::chrono::seconds(10);

/// One side: an executor, a paged cache, a pool, and a data path of one loopback transport.
class Side {
 public:
  Side(Transport& transport, uint64_t seed)
      : executor(ThreadExecutor::create("side", clock).value()),
        cache(PagedKVCache::create(tiny_model(), PagePreset::kVllmNhd, 256, seed).value()),
        pool(MemoryPool::create({.slot_bytes = size_t{1} << 20, .num_slots = 4}).value()) {
    run([&] {
      DataPath::Events events;
      events.on_sent = [this](uint64_t, const Status& status) { sent.set_value(status); };
      events.on_received = [this](uint64_t, const Status& status) { received.set_value(status); };
      path = std::make_unique<DataPath>(
          transport.open_link(PeerClass::kSameProcess, *executor).value(), *executor, events,
          DataPath::Copiers{copier, copier}, nullptr);
    });
  }
  ~Side() {
    std::promise<void> quiet;
    executor->post([&] { path->close([&] { quiet.set_value(); }); });
    quiet.get_future().wait();
    run([&] { path.reset(); });
  }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  template <typename Function>
  void run(Function what) {
    std::promise<void> done;
    executor->post([&] {
      what();
      done.set_value();
    });
    done.get_future().wait();
  }

  /// A chunk of 256 tokens in pages of its own, filled with what its hash says.
  ChunkPlan plan_chunk_of(uint32_t first_token) {
    std::vector<uint32_t> tokens(256);
    std::iota(tokens.begin(), tokens.end(), first_token);
    const ChunkHasher hasher = ChunkHasher::create({}).value();
    const ChunkRef ref = chunks_of_prompt(tiny_model(), hasher, tokens).front();
    const auto blocks = cache.allocate(16).value();
    slots = slots_from_block_table(blocks, 16, 0, 256).value();
    EXPECT_THAT(fill_chunk(cache.layout(), slots, ref.key.chunk_hash), IsOk());
    return plan_chunk(ref, {&cache.layout(), slots}, kFragmentBytes).value();
  }

  SteadyClock clock;
  std::unique_ptr<ThreadExecutor> executor;
  PagedKVCache cache;
  std::unique_ptr<MemoryPool> pool;
  HostPagedCopier copier{{.store = StoreHint::kCached}};
  std::unique_ptr<DataPath> path;
  std::vector<int64_t> slots;
  std::promise<Status> sent;
  std::promise<Status> received;
};

class DataPathTest : public ::testing::Test {
 protected:
  DataPathTest() {
    source.emplace(*transport, 1);
    target.emplace(*transport, 2);
    std::string source_address;
    std::string target_address;
    source->run([&] { source_address = source->path->address(); });
    target->run([&] { target_address = target->path->address(); });
    source->run([&] { EXPECT_THAT(source->path->connect(target_address), IsOk()); });
    target->run([&] { EXPECT_THAT(target->path->connect(source_address), IsOk()); });
  }

  void expect_chunk(ChunkPlan plan, LeaseId landing) {
    auto memory = target->pool->allocate(static_cast<size_t>(plan.layout.size_bytes)).value();
    auto chunk = std::make_shared<IncomingChunk>(IncomingChunk{.transfer_id = 7,
                                                               .plan = std::move(plan),
                                                               .landing_memory = std::move(memory),
                                                               .landing = landing});
    target->run([&] { target->path->expect(chunk); });
  }

  void send_chunk(ChunkPlan plan, LeaseId landing) {
    auto memory = source->pool->allocate(static_cast<size_t>(plan.layout.size_bytes)).value();
    auto chunk = std::make_shared<OutgoingChunk>(OutgoingChunk{.transfer_id = 7,
                                                               .plan = std::move(plan),
                                                               .staging = std::move(memory),
                                                               .landing = landing});
    source->run([&] { source->path->send(chunk); });
  }

  static Status end_of(std::promise<Status>& promise) {
    auto future = promise.get_future();
    if (future.wait_for(kLimit) != std::future_status::ready) {
      return Status(StatusCode::kDeadlineExceeded, "nothing ended");
    }
    return future.get();
  }

  std::shared_ptr<Transport> transport = make_transport("loopback").value();
  std::optional<Side> source;
  std::optional<Side> target;
};

TEST_F(DataPathTest, AChunkArrivesVerifiedInOtherPages) {
  const ChunkPlan plan = target->plan_chunk_of(1);
  ASSERT_THAT(poison_slots(target->cache.layout(), target->slots), IsOk());
  expect_chunk(plan, {1, 1});
  send_chunk(source->plan_chunk_of(1), {1, 1});
  EXPECT_THAT(end_of(target->received), IsOk());
  EXPECT_THAT(end_of(source->sent), IsOk());
  const auto mismatch =
      verify_chunk(target->cache.layout(), target->slots, plan.ref.key.chunk_hash);
  ASSERT_THAT(mismatch, IsOk());
  EXPECT_FALSE(mismatch->has_value());
}

TEST_F(DataPathTest, AChunkExchangedForAnotherWithItsOwnValidDigestsIsFound) {
  expect_chunk(target->plan_chunk_of(1), {1, 1});
  // Bytes, tile digests, fragment digests and chunk digest all agree: they are another chunk's.
  send_chunk(source->plan_chunk_of(5000), {1, 1});
  EXPECT_THAT(end_of(target->received),
              StatusIs(StatusCode::kDataLoss, HasSubstr("belong to another chunk")));
}

TEST_F(DataPathTest, TheSameTokensElsewhereInASequenceAreAnotherChunk) {
  ChunkPlan moved = source->plan_chunk_of(1);
  moved.identity.token_begin += 256;
  moved.identity.token_end += 256;
  expect_chunk(target->plan_chunk_of(1), {1, 1});
  send_chunk(std::move(moved), {1, 1});
  EXPECT_THAT(end_of(target->received), StatusIs(StatusCode::kDataLoss));
}

TEST_F(DataPathTest, AFragmentForAnotherGenerationIsRefusedAndTouchesNothing) {
  const ChunkPlan plan = target->plan_chunk_of(1);
  expect_chunk(plan, {1, 2});
  ASSERT_THAT(poison_slots(target->cache.layout(), target->slots), IsOk());
  send_chunk(source->plan_chunk_of(1), {1, 1});
  EXPECT_THAT(end_of(source->sent), StatusIs(StatusCode::kFailedPrecondition));
  target->run(
      [&] { target->path->abandon(7, Status(StatusCode::kUnavailable, "the sender gave up")); });
  EXPECT_THAT(end_of(target->received), StatusIs(StatusCode::kUnavailable, HasSubstr("gave up")));
  const auto mismatch =
      verify_chunk(target->cache.layout(), target->slots, plan.ref.key.chunk_hash);
  ASSERT_THAT(mismatch, IsOk());
  ASSERT_TRUE(mismatch->has_value());
  EXPECT_EQ((*mismatch)->found, kPoisonByte);
}

TEST_F(DataPathTest, AnAbandonedChunkEndsThoughFragmentsAreMissing) {
  expect_chunk(target->plan_chunk_of(1), {1, 1});
  target->run(
      [&] { target->path->abandon(7, Status(StatusCode::kUnavailable, "the sender gave up")); });
  EXPECT_THAT(end_of(target->received), StatusIs(StatusCode::kUnavailable, HasSubstr("gave up")));
}

TEST_F(DataPathTest, CloseInMidTransferReturnsAllMemoryAndTellsNobody) {
  expect_chunk(target->plan_chunk_of(1), {1, 1});
  send_chunk(source->plan_chunk_of(1), {1, 1});
  MemoryPool& staging = *source->pool;
  std::promise<void> quiet;
  source->executor->post([&] { source->path->close([&] { quiet.set_value(); }); });
  quiet.get_future().wait();
  source->run([] {});
  EXPECT_EQ(staging.usage().used_slots, 0U);
}

}  // namespace
}  // namespace kvferry
