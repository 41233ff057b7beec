#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>
#include <tuple>

#include "tests/runtime/transfer/worker_process.h"
#include "tests/support/eventually.h"
#include "tests/support/seeded_rng.h"

namespace kvferry {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

enum class Fate : uint8_t { kKilled, kStoppedAndContinued, kStoppedAndKilled };

// Within this a survivor ends every transfer with a peer that is gone or silent: the silence limit
// and what its links take to come to rest, generously.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr seconds kBound{30};
#else
constexpr seconds kBound{10};
#endif
constexpr int kProgressChunks = 12;

/// At how many random moments a worker is lost, in each of the tests here.
int num_moments() {
  const char* given = std::getenv("KVFERRY_TEST_MOMENTS");
  return given == nullptr ? 10 : std::atoi(given);
}

/// A worker of this process goes on, whatever becomes of the other, which is a process.
class LostWorkerTest : public testing::TestWithParam<std::tuple<PeerClass, Fate>> {
 protected:
  static PeerClass best_path() { return std::get<PeerClass>(GetParam()); }
  static Fate fate() { return std::get<Fate>(GetParam()); }
  static bool is_stopped() { return fate() != Fate::kKilled; }
  static bool fences() { return best_path() != PeerClass::kSameHostPull; }

  static WorkerOptions options_of(const std::string& name) {
    WorkerOptions options;
    options.name = name;
    options.best_path = best_path();
    return options;
  }

  /// False, and the test is skipped, where this machine has no such path.
  template <typename Worker>
  bool has_path(const Worker& worker) {
    std::vector<PeerInfo> peers;
    if (!eventually([&] { return !(peers = worker.peers()).empty(); }, kBound)) {
      ADD_FAILURE() << "nobody connects";
      return false;
    }
    if (peers[0].peer_class == best_path()) return true;
    EXPECT_EQ(best_path(), PeerClass::kSameHostPull) << peers[0].path;
    skip_reason = "processes may not read one another's memory here";
    return false;
  }

  /// False when no chunks get across any more.
  virtual bool makes_progress() = 0;

  /// Mostly in the middle of transfers; else perhaps while they connect.
  void wait_for_moment() {
    const bool is_early = rng.one_in(4);
    if (!is_early) {
      ASSERT_TRUE(makes_progress());
    }
    std::this_thread::sleep_for(microseconds(rng.between(0, is_early ? 80'000 : 20'000)));
  }
  void lose(WorkerProcess& victim) { victim.signal(is_stopped() ? SIGSTOP : SIGKILL); }

  SeededRng rng;
  std::string skip_reason;
};

/// Prefill goes on; decode is lost.
class LostReceiverTest : public LostWorkerTest {
 protected:
  void SetUp() override { start_victim(); }

  void start_victim() {
    victim.emplace(WorkerRole::kFetching, options_of("decode"), survivor.port());
  }
  bool makes_progress() override {
    const uint64_t before = survivor.stats().chunks_sent;
    return eventually([&] { return survivor.stats().chunks_sent >= before + kProgressChunks; },
                      kBound);
  }
  /// Nothing is left of the transfers with the victim but what is in quarantine.
  bool has_ended_transfers() {
    return eventually(
        [&] {
          return survivor.peers().empty() && survivor.num_open() == 0 &&
                 survivor.stats().leases_active == 0;
        },
        kBound);
  }
  bool has_reclaimed() {
    return eventually([&] { return survivor.stats().quarantined_bytes == 0; }, kBound);
  }

  void lose_once() {
    ASSERT_NO_FATAL_FAILURE(wait_for_moment());
    lose(*victim);
    ASSERT_TRUE(has_ended_transfers());
    const uint64_t quarantined = survivor.stats().quarantined_bytes;
    if (fences()) {
      EXPECT_EQ(quarantined, 0U);
    }
    if (is_stopped()) quarantined_while_stopped += quarantined;
    if (fate() == Fate::kStoppedAndContinued) {
      EXPECT_EQ(survivor.stats().quarantined_bytes, quarantined) << "while it could still read";
      victim->signal(SIGCONT);
    } else {
      victim->signal(SIGKILL);
      EXPECT_EQ(victim->wait(), -SIGKILL);
    }
    ASSERT_TRUE(has_reclaimed());
    if (fate() != Fate::kStoppedAndContinued) start_victim();
  }

  ServingWorker survivor{options_of("prefill")};
  std::optional<WorkerProcess> victim;
  uint64_t quarantined_while_stopped = 0;
};

TEST_P(LostReceiverTest, ItsPeerEndsEveryTransferAndServesTheNext) {
  if (!has_path(survivor)) GTEST_SKIP() << skip_reason;
  for (int i = 0; i < num_moments(); ++i) {
    SCOPED_TRACE("moment " + std::to_string(i));
    ASSERT_NO_FATAL_FAILURE(lose_once());
  }
  // Few moments may all miss the time in which a source is granted; HeldPullTest never does.
  if (is_stopped() && !fences() && num_moments() >= 100) {
    EXPECT_GT(quarantined_while_stopped, 0U);
  }
  ASSERT_TRUE(makes_progress());
  EXPECT_EQ(victim->end(), 0);
  EXPECT_TRUE(has_ended_transfers());
  EXPECT_TRUE(has_reclaimed());
}

/// Decode goes on; prefill is lost.
class LostSenderTest : public LostWorkerTest {
 protected:
  LostSenderTest() {
    start_victim();
    survivor.emplace(options_of("decode"), port,
                     [](const std::string& fault) { ADD_FAILURE() << fault; });
  }

  void start_victim() {
    victim.emplace(WorkerRole::kServing, options_of("prefill"));
    port = victim->receive_port();
  }
  bool makes_progress() override {
    const int before = survivor->num_verified();
    return eventually([&] { return survivor->num_verified() >= before + kProgressChunks; }, kBound);
  }
  void expect_at_rest() {
    EXPECT_TRUE(eventually([&] { return survivor->stats().leases_active == 0; }, kBound));
    EXPECT_EQ(survivor->stats().quarantined_bytes, 0U) << "nobody reads landing memory";
    EXPECT_EQ(survivor->stats().chunks_mismatched, 0U);
  }

  void lose_once() {
    ASSERT_NO_FATAL_FAILURE(wait_for_moment());
    lose(*victim);
    ASSERT_TRUE(survivor->pause(kBound)) << "transfers have not ended";
    expect_at_rest();
    if (fate() == Fate::kStoppedAndContinued) {
      victim->signal(SIGCONT);
    } else {
      victim->signal(SIGKILL);
      EXPECT_EQ(victim->wait(), -SIGKILL);
      start_victim();
      survivor->set_port(port);
    }
    survivor->resume();
    EXPECT_TRUE(eventually([&] { return victim->quarantined_bytes() == 0U; }, kBound));
  }

  std::optional<WorkerProcess> victim;
  std::optional<FetchingWorker> survivor;
  uint16_t port = 0;
};

TEST_P(LostSenderTest, ItsPeerEndsEveryTransferAndFetchesOn) {
  if (!has_path(*survivor)) GTEST_SKIP() << skip_reason;
  for (int i = 0; i < num_moments(); ++i) {
    SCOPED_TRACE("moment " + std::to_string(i));
    ASSERT_NO_FATAL_FAILURE(lose_once());
  }
  ASSERT_TRUE(makes_progress());
  ASSERT_TRUE(survivor->pause(kBound));
  expect_at_rest();
  EXPECT_TRUE(eventually([&] { return victim->leases_active() == 0U; }, kBound));
  EXPECT_EQ(victim->end(), 0);
}

std::string name_of(const testing::TestParamInfo<std::tuple<PeerClass, Fate>>& param) {
  constexpr std::array kFates = {"killed", "stopped_and_continued", "stopped_and_killed"};
  return std::string(peer_class_name(std::get<PeerClass>(param.param))) + "_" +
         kFates.at(static_cast<size_t>(std::get<Fate>(param.param)));
}

const auto kEach = testing::Combine(
    testing::Values(PeerClass::kSameHostPull, PeerClass::kSameHostShm, PeerClass::kNetwork),
    testing::Values(Fate::kKilled, Fate::kStoppedAndContinued, Fate::kStoppedAndKilled));
INSTANTIATE_TEST_SUITE_P(Ucx, LostReceiverTest, kEach, name_of);
INSTANTIATE_TEST_SUITE_P(Ucx, LostSenderTest, kEach, name_of);

}  // namespace
}  // namespace kvferry
