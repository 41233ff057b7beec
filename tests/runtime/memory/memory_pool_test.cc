#include "runtime/memory/memory_pool.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <limits>
#include <thread>

#include "tests/support/eventually.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<MemoryPool> make_pool(size_t slots, size_t slot_bytes = 4096) {
  return MemoryPool::create({.slot_bytes = slot_bytes, .num_slots = slots}).value();
}

TimePoint in(std::chrono::milliseconds wait) { return std::chrono::steady_clock::now() + wait; }

TEST(MemoryPool, RefusesSizesThatAreNoneOrOverflow) {
  constexpr size_t kMax = std::numeric_limits<size_t>::max();
  for (const MemoryPoolOptions options :
       {MemoryPoolOptions{0, 1}, MemoryPoolOptions{1, 0}, MemoryPoolOptions{kMax, 1},
        MemoryPoolOptions{kMax / 2, 2}, MemoryPoolOptions{4096, kMax / 4096},
        MemoryPoolOptions{1, kMax}}) {
    EXPECT_THAT(MemoryPool::create(options), StatusIs(StatusCode::kInvalidArgument))
        << options.slot_bytes << " x " << options.num_slots;
  }
}

TEST(MemoryPool, SlotsAreRoundedUpAlignedAndDisjoint) {
  const auto pool = make_pool(5, 5000);
  EXPECT_EQ(pool->usage().slot_bytes, 8192U);
  std::vector<MemoryObjPtr> held;
  std::vector<std::byte*> begins;
  for (int i = 0; i < 5; ++i) {
    held.push_back(pool->allocate(5000).value());
    EXPECT_EQ(held.back()->bytes().size(), 5000U);
    EXPECT_EQ(held.back()->capacity().size(), 8192U);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(held.back()->bytes().data()) % 4096, 0U);
    begins.push_back(held.back()->bytes().data());
    std::ranges::fill(held.back()->capacity(), static_cast<std::byte>(i));
  }
  std::ranges::sort(begins);
  for (size_t i = 1; i < begins.size(); ++i) EXPECT_GE(begins[i] - begins[i - 1], 8192);
}

TEST(MemoryPool, IsBoundedAndSaysSoAtOnce) {
  const auto pool = make_pool(2);
  auto first = pool->allocate(1);
  auto second = pool->allocate(4096);
  EXPECT_THAT(pool->allocate(1), StatusIs(StatusCode::kResourceExhausted, HasSubstr("2 slots")));
  EXPECT_EQ(pool->usage().refused, 1U);
  EXPECT_EQ(pool->usage().used_slots, 2U);
  first->reset();
  EXPECT_THAT(pool->allocate(1), IsOk());
  EXPECT_EQ(pool->usage().used_slots, 1U);
  EXPECT_EQ(pool->usage().peak_used_slots, 2U);
}

TEST(MemoryPool, AChunkLargerThanASlotNeverFitsAndIsNotWaitedFor) {
  const auto pool = make_pool(1);
  EXPECT_THAT(pool->allocate(4097),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("slot_bytes")));
  EXPECT_THAT(pool->allocate_until(4097, TimePoint::max()), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_EQ(pool->usage().refused, 0U);
  EXPECT_THAT(pool->allocate(4096), IsOk());
}

TEST(MemoryPool, TheLastReleasedSlotIsTheNextGivenWithNothingOfItsPast) {
  const auto pool = make_pool(4);
  auto a = pool->allocate(100).value();
  auto b = pool->allocate(100).value();
  MemoryObj* const last = b.get();
  b->tile_digests = {1, 2};
  b->chunk_digest = 3;
  b->layout.num_tokens = 4;
  b->pin();
  a.reset();
  b.reset();
  auto again = pool->allocate(50).value();
  EXPECT_EQ(again.get(), last);
  EXPECT_EQ(again->bytes().size(), 50U);
  EXPECT_TRUE(again->tile_digests.empty());
  EXPECT_EQ(again->chunk_digest, 0U);
  EXPECT_EQ(again->layout, ChunkLayout());
  EXPECT_EQ(again->pin_count(), 0) << "the last user's pins end with its reference";
}

TEST(MemoryPool, ASlotComesBackWithItsLastReference) {
  const auto pool = make_pool(1);
  MemoryObjPtr obj = pool->allocate(1).value();
  EXPECT_EQ(obj->ref_count(), 1);
  MemoryObjPtr copy = obj;
  MemoryObjPtr moved = std::move(obj);
  EXPECT_EQ(copy->ref_count(), 2);
  MemoryObjPtr& self = copy;
  copy = self;
  EXPECT_EQ(copy->ref_count(), 2);
  moved.reset();
  EXPECT_EQ(pool->usage().used_slots, 1U);
  copy.reset();
  EXPECT_EQ(pool->usage().used_slots, 0U);
}

TEST(MemoryPool, PinsAreCountedAndNeverGoBelowZero) {
  const auto pool = make_pool(1);
  const auto obj = pool->allocate(1).value();
  EXPECT_FALSE(obj->unpin());
  obj->pin();
  obj->pin();
  EXPECT_EQ(obj->pin_count(), 2);
  EXPECT_TRUE(obj->unpin());
  EXPECT_TRUE(obj->unpin());
  EXPECT_FALSE(obj->unpin());
  EXPECT_EQ(obj->pin_count(), 0);
}

TEST(MemoryPool, AWaitEndsAtItsDeadline) {
  const auto pool = make_pool(1);
  const auto held = pool->allocate(1).value();
  const TimePoint deadline = in(std::chrono::milliseconds(20));
  EXPECT_THAT(pool->allocate_until(1, deadline), StatusIs(StatusCode::kDeadlineExceeded));
  EXPECT_GE(std::chrono::steady_clock::now(), deadline);
  EXPECT_THAT(pool->allocate_until(1, TimePoint::min()), StatusIs(StatusCode::kDeadlineExceeded));
  EXPECT_EQ(pool->usage().refused, 2U);
}

TEST(MemoryPool, APastDeadlineStillTakesAFreeSlot) {
  const auto pool = make_pool(1);
  EXPECT_THAT(pool->allocate_until(1, TimePoint::min()), IsOk());
}

TEST(MemoryPool, EachReleaseWakesAWaiter) {
  const auto pool = make_pool(2);
  std::vector<MemoryObjPtr> held = {pool->allocate(1).value(), pool->allocate(1).value()};
  std::vector<std::future<Status>> waiters;
  for (int i = 0; i < 6; ++i) {
    waiters.push_back(std::async(std::launch::async, [&] {
      const auto got = pool->allocate_until(1, in(std::chrono::seconds(30)));
      return got ? Status() : got.error();
    }));
  }
  held.clear();
  for (auto& waiter : waiters) EXPECT_THAT(waiter.get(), IsOk());
  EXPECT_EQ(pool->usage().used_slots, 0U);
}

TEST(MemoryPool, TheListenerHearsOfEachReleaseAndFindsTheSlotFree) {
  const auto pool = make_pool(1);
  int calls = 0;
  pool->set_release_listener([&] {
    ++calls;
    EXPECT_EQ(pool->usage().used_slots, 0U);
  });
  for (int i = 0; i < 3; ++i) pool->allocate(1).value().reset();
  EXPECT_EQ(calls, 3);
}

TEST(MemoryPool, ThreadsNeverShareASlot) {
  const auto pool = make_pool(3, 64);
  std::atomic<int> releases{0};
  pool->set_release_listener([&] { ++releases; });
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      const auto mark = static_cast<std::byte>(t + 1);
      for (int i = 0; i < 1500; ++i) {
        auto obj = i % 4 == 0 ? pool->allocate_until(64, in(std::chrono::milliseconds(1)))
                              : pool->allocate(64);
        if (!obj) continue;
        ++taken;
        std::ranges::fill((*obj)->bytes(), mark);
        const MemoryObjPtr copy = *obj;
        obj->reset();
        EXPECT_TRUE(std::ranges::all_of(copy->bytes(), [&](std::byte b) { return b == mark; }));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(releases.load(), taken.load());
  EXPECT_GT(taken.load(), 0);
  EXPECT_EQ(pool->usage().used_slots, 0U);
  EXPECT_LE(pool->usage().peak_used_slots, 3U);
}

TEST(MemoryPool, NamesEachUseOfASlotByAnotherNumber) {
  const auto pool = MemoryPool::create({.slot_bytes = 8192, .num_slots = 2}).value();
  MemoryObjPtr first = pool->allocate(8192).value();
  const std::byte* const last_byte = first->bytes().data() + 8191;
  const uint64_t use = pool->use_at(last_byte);
  EXPECT_NE(use, 0U);
  EXPECT_EQ(pool->use_at(first->bytes().data()), use);
  first.reset();
  EXPECT_EQ(pool->use_at(last_byte), 0U) << "free";
  first = pool->allocate(1).value();
  ASSERT_EQ(first->bytes().data() + 8191, last_byte) << "the same slot again";
  EXPECT_NE(pool->use_at(last_byte), 0U);
  EXPECT_NE(pool->use_at(last_byte), use);
  std::byte elsewhere{};
  EXPECT_EQ(pool->use_at(&elsewhere), 0U);
}

}  // namespace
}  // namespace kvferry
