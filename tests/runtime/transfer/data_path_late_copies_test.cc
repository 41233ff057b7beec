// Copies that end later than they begin, as those of a GPU: what waits for them.

#include <deque>
#include <future>

#include "tests/support/data_path_pair.h"
#include "tests/support/eventually.h"

namespace kvferry {
namespace {

constexpr LeaseId kLanding{3, 4};
constexpr uint64_t kId = 7;
constexpr size_t kFragments = 4;

/// Ends a copy when it is told to.
class LateCopier final : public PagedCopier {
 public:
  void enqueue(PagedCopyRequest request) override {
    waiting_.push_back(std::move(request));
    ++num_open_;
  }
  bool progress() override { return false; }
  size_t num_open() const override { return num_open_; }

  /// The oldest one; on the executor that enqueued it.
  void end_one(const Status& failure = {}) {
    PagedCopyRequest request = std::move(waiting_.front());
    waiting_.pop_front();
    --num_open_;
    if (!failure.is_ok()) return request.on_done(failure);
    host_.enqueue(std::move(request));
  }

 private:
  HostPagedCopier host_{{}};
  std::deque<PagedCopyRequest> waiting_;
  std::atomic<size_t> num_open_ = 0;
};

class LateCopies : public ::testing::Test {
 protected:
  /// Sends one chunk; gathers and scatters end at once where they are not late.
  void start(PagedCopier& gather, PagedCopier& scatter) {
    pair = std::make_unique<DataPathPair>(DataPathPair::Source::kDataPath, nullptr,
                                          DataPath::Copiers{gather, scatter});
    ref = pair->make_ref(1);
    pair->expect(kId, pair->destination_plan(ref), kLanding);
    pair->send(kId, pair->source_plan(ref), kLanding);
  }
  void end_gather(const Status& failure = {}) {
    run_on(*pair->send_executor, [&] { late.end_one(failure); });
  }
  void end_scatter() {
    run_on(*pair->receive_executor, [&] { late.end_one(); });
  }
  bool all_are_open() {
    return eventually([&] { return late.num_open() == kFragments; });
  }
  std::optional<Status> received() { return pair->end_of(pair->received, kId); }
  std::optional<Status> sent() { return pair->end_of(pair->sent, kId); }

  LateCopier late;
  HostPagedCopier at_once{{}};
  std::unique_ptr<DataPathPair> pair;
  ChunkRef ref;
};

TEST_F(LateCopies, GathersOfAChunkAreUnderWayTogetherAndAreOfferedAsTheyEnd) {
  start(late, at_once);
  ASSERT_TRUE(all_are_open());
  for (size_t i = 0; i < kFragments; ++i) {
    EXPECT_FALSE(sent().has_value());
    end_gather();
  }
  ASSERT_TRUE(eventually([&] { return received().has_value() && sent().has_value(); }));
  EXPECT_THAT(*received(), IsOk());
  EXPECT_THAT(*sent(), IsOk());
  EXPECT_TRUE(pair->is_content(ref));
}

TEST_F(LateCopies, AChunkArrivesWhenItsLastScatterHasEnded) {
  start(at_once, late);
  ASSERT_TRUE(all_are_open());
  for (size_t i = 0; i < kFragments; ++i) {
    EXPECT_FALSE(received().has_value());
    end_scatter();
  }
  ASSERT_TRUE(eventually([&] { return received().has_value(); }));
  EXPECT_THAT(*received(), IsOk());
  EXPECT_TRUE(pair->is_content(ref));
}

TEST_F(LateCopies, AFailedGatherEndsItsChunkOnceAllItsGathersHaveEnded) {
  start(late, at_once);
  ASSERT_TRUE(all_are_open());
  end_gather({StatusCode::kDeviceLost, "the device is gone"});
  for (size_t i = 1; i < kFragments; ++i) {
    EXPECT_FALSE(sent().has_value()) << "staging is still written";
    end_gather();
  }
  ASSERT_TRUE(eventually([&] { return sent().has_value(); }));
  EXPECT_THAT(*sent(), StatusIs(StatusCode::kDeviceLost));
}

TEST_F(LateCopies, AnAbandonedChunksPagesAreQuietOnlyWhenItsScattersHaveEnded) {
  start(at_once, late);
  ASSERT_TRUE(all_are_open());
  run_on(*pair->receive_executor, [&] {
    pair->receiver->abandon(kId, {StatusCode::kCancelled, "not wanted"});
  });
  for (size_t i = 0; i < kFragments; ++i) {
    EXPECT_EQ(pair->num_abandoned, 0);
    EXPECT_FALSE(received().has_value());
    end_scatter();
  }
  ASSERT_TRUE(eventually([&] { return received().has_value(); }));
  EXPECT_THAT(*received(), StatusIs(StatusCode::kCancelled));
  EXPECT_EQ(pair->num_abandoned, 1);
}

TEST_F(LateCopies, CloseIsQuietOnlyWhenCopiesHaveEnded) {
  start(at_once, late);
  ASSERT_TRUE(all_are_open());
  std::atomic<bool> is_quiet = false;
  pair->receive_executor->post([&] { pair->receiver->close([&] { is_quiet = true; }); });
  // The link is, soon; the pages and the landing memory are not.
  EXPECT_TRUE(eventually([&] { return sent().has_value(); }));
  for (size_t i = 0; i < kFragments; ++i) {
    run_on(*pair->receive_executor, [] {});
    EXPECT_FALSE(is_quiet);
    EXPECT_GT(pair->pool->usage().used_slots, 0U);
    end_scatter();
  }
  EXPECT_TRUE(eventually([&] { return is_quiet.load(); }));
  EXPECT_FALSE(received().has_value()) << "chunks that a close cuts off get no event";
  run_on(*pair->receive_executor, [&] { pair->receiver.reset(); });
}

}  // namespace
}  // namespace kvferry
