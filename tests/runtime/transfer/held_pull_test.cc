#include <gtest/gtest.h>

#include <chrono>
#include <csignal>

#include "tests/runtime/transfer/worker_process.h"
#include "tests/support/eventually.h"

namespace kvferry {
namespace {

using std::chrono::seconds;

constexpr seconds kBound{30};

enum class GivesUp : uint8_t { kForSilence, kForTheTimeout };

/// A receiver is held in the middle of a pull, and its sender gives it up.
class HeldPullTest : public testing::TestWithParam<GivesUp> {
 protected:
  static constexpr size_t kStagingChunks = 6;

  bool is_silent() const { return GetParam() == GivesUp::kForSilence; }
  WorkerOptions sender_options() const {
    WorkerOptions options;
    options.name = "prefill";
    options.pool_chunks = kStagingChunks;
    options.max_quarantined_chunks = kStagingChunks - 1;
    // Else only the pulling thread stands, and the process says that it lives.
    if (!is_silent()) options.transfer_timeout = seconds(1);
    return options;
  }
  static WorkerOptions receiver_options(const std::string& name, int first_prompt) {
    WorkerOptions options;
    options.name = name;
    options.pool_chunks = 2;
    options.first_prompt = first_prompt;
    return options;
  }
  bool serves(uint64_t num_chunks) {
    const uint64_t before = sender.stats().chunks_sent;
    return eventually([&] { return sender.stats().chunks_sent >= before + num_chunks; }, kBound);
  }
  uint64_t quarantined() { return sender.stats().quarantined_bytes; }

  ServingWorker sender{sender_options()};
};

TEST_P(HeldPullTest, ReadsNoReusedByteThoughItsSenderGaveItUp) {
  WorkerProcess held(WorkerRole::kFetching, receiver_options("held", 0), sender.port());
  ASSERT_TRUE(serves(10));
  if (sender.peers().at(0).peer_class != PeerClass::kSameHostPull) {
    GTEST_SKIP() << "processes may not read one another's memory here";
  }
  held.send("hold");
  ASSERT_EQ(held.receive(), "held");
  if (is_silent()) held.signal(SIGSTOP);
  ASSERT_TRUE(eventually([&] { return sender.num_lost() == 1; }, kBound));
  const uint64_t kept = quarantined();
  ASSERT_GT(kept, 0U);

  // The slots that are left are used again and again, for other bytes.
  WorkerProcess other(WorkerRole::kFetching, receiver_options("other", 4), sender.port());
  ASSERT_TRUE(serves(20 * kStagingChunks));
  EXPECT_EQ(quarantined(), kept);

  if (is_silent()) held.signal(SIGCONT);
  held.send("release");
  EXPECT_EQ(held.receive(), "equal");
  EXPECT_TRUE(eventually([&] { return quarantined() == 0; }, kBound));
  EXPECT_TRUE(eventually([&] { return sender.peers().size() == 2; }, kBound));
  EXPECT_TRUE(serves(10));
  EXPECT_EQ(held.end(), 0);
  EXPECT_EQ(other.end(), 0);
}

INSTANTIATE_TEST_SUITE_P(Ucx, HeldPullTest,
                         testing::Values(GivesUp::kForSilence, GivesUp::kForTheTimeout),
                         [](const auto& param) {
                           return param.param == GivesUp::kForSilence ? "for_silence"
                                                                      : "for_the_timeout";
                         });

}  // namespace
}  // namespace kvferry
