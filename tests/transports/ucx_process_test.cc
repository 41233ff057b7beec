#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>

#include "tests/support/eventually.h"
#include "tests/transports/connect_hook.h"
#include "tests/transports/ucx_process_peer.h"
#include "tests/transports/ucx_process_side.h"

namespace kvferry {
namespace {

using Counts = UcxProcessSide::Counts;

// UCX takes them when it is loaded; kvferry gives them back.
TEST(UcxSignals, AreTheApplicationsUnlessUcxIsAskedToTakeThem) {
  if (std::getenv("UCX_HANDLE_ERRORS") != nullptr) GTEST_SKIP() << "UCX_HANDLE_ERRORS is set";
  struct sigaction action = {};
  ASSERT_EQ(::sigaction(SIGHUP, nullptr, &action), 0);
  EXPECT_EQ(action.sa_handler, SIG_DFL);
}

constexpr Duration kLimit = std::chrono::seconds(20);
// What the survivor's close() may take, whatever became of its peer.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr Duration kCloseLimit = std::chrono::seconds(20);
#else
constexpr Duration kCloseLimit = std::chrono::seconds(2);
#endif
constexpr size_t kLargeBytes = size_t{4} << 20U;

class UcxProcess : public testing::TestWithParam<PeerClass> {
 protected:
  void connect(UcxProcessSide& side, const PeerProcess& peer) {
    const std::string peer_address = peer.receive();
    peer.send(side.address());
    const Status status = side.connect(peer_address);
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    ASSERT_EQ(peer.receive(), "connected");
  }

  void close_and_check(UcxProcessSide& side) {
    side.close();
    EXPECT_TRUE(side.wait([](const Counts& counts) { return counts.is_quiet; }, kCloseLimit));
    const Counts counts = side.counts();
    EXPECT_EQ(counts.num_sent, counts.num_offered);
    EXPECT_EQ(counts.num_received, counts.num_accepted);
    EXPECT_EQ(counts.num_wrong, 0);
  }

  void cut_off_receiver(int signal_number) {
    PeerProcess peer(GetParam(), PeerRole::kSink);
    UcxProcessSide side(GetParam(), false);
    ASSERT_NO_FATAL_FAILURE(connect(side, peer));
    side.offer_forever(16, kLargeBytes);
    ASSERT_TRUE(side.wait([](const Counts& counts) { return counts.num_sent >= 4; }, kLimit));
    peer.signal(signal_number);
    close_and_check(side);
  }

  void cut_off_sender(int signal_number) {
    PeerProcess peer(GetParam(), PeerRole::kFlood);
    UcxProcessSide side(GetParam(), false);
    ASSERT_NO_FATAL_FAILURE(connect(side, peer));
    ASSERT_TRUE(side.wait([](const Counts& counts) { return counts.num_received >= 3; }, kLimit));
    peer.signal(signal_number);
    close_and_check(side);
  }
};

TEST_P(UcxProcess, TransfersBothWays) {
  PeerProcess peer(GetParam(), PeerRole::kMirror);
  UcxProcessSide side(GetParam(), false);
  ASSERT_NO_FATAL_FAILURE(connect(side, peer));
  constexpr int kOffers = 60;
  for (int i = 0; i < kOffers; ++i) {
    constexpr std::array<size_t, 6> kSizes = {0, 1, 4096, 70001, 512 * 1024, (3 << 20) + 1};
    side.offer(static_cast<uint64_t>(i), kSizes.at(static_cast<size_t>(i) % kSizes.size()));
  }
  EXPECT_TRUE(side.wait(
      [](const Counts& counts) {
        return counts.num_sent == kOffers && counts.num_received_ok == kOffers;
      },
      kLimit))
      << side.counts().num_sent << " sent, " << side.counts().num_received_ok << " received";
  close_and_check(side);
  peer.send("end");
  EXPECT_EQ(peer.wait(), 0);
}

TEST_P(UcxProcess, OutlivesAKilledReceiver) { cut_off_receiver(SIGKILL); }
TEST_P(UcxProcess, OutlivesAKilledSender) { cut_off_sender(SIGKILL); }
TEST_P(UcxProcess, ClosesOnAStoppedReceiver) { cut_off_receiver(SIGSTOP); }
TEST_P(UcxProcess, ClosesOnAStoppedSender) { cut_off_sender(SIGSTOP); }

// UCX's sockets are connected and then written to at once.
TEST_P(UcxProcess, OutlivesAPeerThatIsKilledWhileItIsBeingConnectedTo) {
  if (GetParam() == PeerClass::kSameHostShm) GTEST_SKIP() << "connects no sockets";
  PeerProcess peer(GetParam(), PeerRole::kSink);
  UcxProcessSide side(GetParam(), false);
  const std::string peer_address = peer.receive();
  std::atomic<bool> is_killed{false};
  after_next_connect([&] {
    peer.signal(SIGKILL);
    peer.wait();
    is_killed = true;
  });
  const Status status = side.connect(peer_address);
  if (status.is_ok()) side.offer(1, kLargeBytes);
  EXPECT_TRUE(eventually([&] { return is_killed.load(); }));
  close_and_check(side);
}

TEST_P(UcxProcess, LinksToOthersWorkOnWhenOnePeerIsKilled) {
  PeerProcess doomed(GetParam(), PeerRole::kFlood);
  PeerProcess mirror(GetParam(), PeerRole::kMirror);
  UcxProcessSide to_doomed(GetParam(), false);
  UcxProcessSide to_mirror(GetParam(), false);
  ASSERT_NO_FATAL_FAILURE(connect(to_doomed, doomed));
  ASSERT_NO_FATAL_FAILURE(connect(to_mirror, mirror));
  ASSERT_TRUE(
      to_doomed.wait([](const Counts& counts) { return counts.num_received >= 1; }, kLimit));
  doomed.signal(SIGKILL);
  for (uint64_t i = 0; i < 8; ++i) to_mirror.offer(i, size_t{1} << 20U);
  EXPECT_TRUE(
      to_mirror.wait([](const Counts& counts) { return counts.num_received_ok == 8; }, kLimit));
  close_and_check(to_doomed);
  close_and_check(to_mirror);
}

INSTANTIATE_TEST_SUITE_P(Ucx, UcxProcess,
                         testing::Values(PeerClass::kSameHostPull, PeerClass::kSameHostShm,
                                         PeerClass::kNetwork),
                         [](const auto& param_info) {
                           return std::string(peer_class_name(param_info.param));
                         });

}  // namespace
}  // namespace kvferry

int main(int argc, char** argv) {
  if (const int code = kvferry::run_as_peer(argc, argv); code >= 0) return code;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
