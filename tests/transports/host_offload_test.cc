// What the transport contract does not say: what is under way when nothing moves, and what is
// refused.

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "conformance/transport_contract_pair.h"
#include "core/port_hub.h"
#include "tests/support/cuda_test.h"
#include "tests/support/status_matchers.h"
#include "tests/transports/cuda_pair_fixture.h"
#include "transports/host_offload/copy_lane.h"
#include "transports/host_offload/factory.h"
#include "transports/host_offload/host_offload_link.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr size_t kBytes = 256 * 1024;
constexpr size_t kMaxCopies = 3;
// How long a test watches that nothing ends which must not.
constexpr Duration kSilence = std::chrono::milliseconds(20);

/// Holds a stream back until it is opened. Of a lost device, too, and of a stream that is gone by
/// then. Nothing that may wait for the device (allocating, freeing) goes between.
class StreamHold {
 public:
  explicit StreamHold(CudaStreamView stream) {
    EXPECT_EQ(cudaLaunchHostFunc(stream.get(), wait, this), cudaSuccess);
  }
  StreamHold(const StreamHold&) = delete;
  StreamHold& operator=(const StreamHold&) = delete;
  ~StreamHold() {
    open();
    left_.get_future().wait();
  }

  void open() {
    if (!std::exchange(is_open_, true)) open_.set_value();
  }

 private:
  static void wait(void* self) {
    auto* const hold = static_cast<StreamHold*>(self);
    hold->open_.get_future().wait();
    hold->left_.set_value();
  }

  std::promise<void> open_;
  std::promise<void> left_;
  bool is_open_ = false;
};

/// As HostOffloadTransport, with few copies at a time, on streams that a test can hold back.
class HoldableTransport final : public Transport {
 public:
  std::string_view name() const override { return "host_offload"; }
  Status is_available(PeerClass /*peer_class*/) const override { return {}; }
  Result<std::unique_ptr<Link>> open_link(PeerClass /*peer_class*/, Executor& executor) override {
    KVFERRY_ASSIGN_OR_RETURN(CopyLane lane, CopyLane::create(0, kMaxCopies));
    const CudaStreamView stream = lane.stream.view();
    {
      MutexLock lock(mutex_);
      streams_.insert_or_assign(&executor, stream);
    }
    KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<Link> link,
                             HostOffloadLink::open(hub_, std::move(lane), executor));
    return link;
  }

  CudaStreamView stream_of(const Executor& executor) {
    MutexLock lock(mutex_);
    return streams_.at(&executor);
  }

 private:
  const std::shared_ptr<PortHub<HostOffloadPort>> hub_ =
      std::make_shared<PortHub<HostOffloadPort>>("test");
  Mutex mutex_;
  std::map<const Executor*, CudaStreamView> streams_ KVFERRY_GUARDED_BY(mutex_);
};

class HostOffloadTest : public test::CudaTest {
 protected:
  void TearDown() override {
    end();
    CudaTest::TearDown();
  }

  void open(ContractPlace left = ContractPlace::kPinned,
            ContractPlace right = ContractPlace::kPinned) {
    end();
    auto transport = std::make_unique<HoldableTransport>();
    transport_ = transport.get();
    fixture_ = std::make_unique<CudaPairFixture>(std::move(transport), left, right);
    auto pair = LinkPair::open(*fixture_);
    ASSERT_THAT(pair, IsOk());
    pair_ = *std::move(pair);
  }

  void end() {
    pair_.reset();
    fixture_.reset();
  }

  LinkPair& pair() { return *pair_; }
  CudaPairFixture& fixture() { return *fixture_; }

  /// Holds back what is copied to that side.
  std::unique_ptr<StreamHold> hold(Side receiver) {
    return std::make_unique<StreamHold>(transport_->stream_of(fixture_->executor(receiver)));
  }

  std::vector<ContractOffer*> add(size_t count, size_t payload_bytes = kBytes) {
    std::vector<ContractOffer*> offers;
    while (offers.size() < count) offers.push_back(&pair().add(Side::kLeft, payload_bytes));
    return offers;
  }

  /// Starts offers and waits until each is accepted: as many as there are events are then copied.
  void start_and_wait_accepted(const std::vector<ContractOffer*>& offers) {
    for (ContractOffer* offer : offers) pair().start(*offer);
    const auto accepted = [&] {
      return std::ranges::all_of(
          offers, [&](const ContractOffer* offer) { return outcome(*offer).num_arrivals > 0; });
    };
    ASSERT_TRUE(pair().wait_for(accepted, std::chrono::seconds(20)));
    turn(Side::kRight);  // past the task of the last arrival
  }

  /// A task that is posted now runs on the side's executor: nobody waits there.
  void turn(Side side) {
    ASSERT_THAT(pair().run(side, [](Link&) { return Status(); }), IsOk());
  }
  void watch() {
    pair().wait_for([] { return false; }, kSilence);
    ASSERT_THAT(pair().verdict(), IsOk());
  }

  /// Destroys that side's link, which has to wait until what is held back goes on.
  void destroy_while(Side side, std::unique_ptr<StreamHold> held) {
    std::atomic<bool> destroyed = false;
    fixture().executor(side).post([&] {
      pair().destroy_here(side);
      destroyed = true;
      fixture().notify();
    });
    watch();
    EXPECT_FALSE(destroyed);
    held->open();
    ASSERT_TRUE(pair().wait_for([&] { return destroyed.load(); }, std::chrono::seconds(20)));
  }

  OfferOutcome outcome(const ContractOffer& offer) { return pair().outcome(offer); }
  void expect_open(const ContractOffer& offer) {
    EXPECT_EQ(outcome(offer).num_sent, 0);
    EXPECT_EQ(outcome(offer).num_received, 0);
  }
  /// Waits for both ends of the offers, and compares them.
  void expect_ends(const std::vector<ContractOffer*>& offers, StatusCode sent,
                   StatusCode received) {
    ASSERT_THAT(pair().wait_sent(offers), IsOk());
    ASSERT_THAT(pair().wait_received(offers), IsOk());
    for (const ContractOffer* offer : offers) {
      EXPECT_THAT(outcome(*offer).sent, StatusIs(sent));
      EXPECT_THAT(outcome(*offer).received, StatusIs(received));
    }
  }

 private:
  HoldableTransport* transport_ = nullptr;  // the fixture's
  std::unique_ptr<CudaPairFixture> fixture_;
  std::unique_ptr<LinkPair> pair_;
};

TEST_F(HostOffloadTest, NobodyHearsOfACopyBeforeItIsDone) {
  for (const ContractPlace place : {ContractPlace::kPinned, ContractPlace::kDevice}) {
    open(place, ContractPlace::kPinned);
    const std::vector<ContractOffer*> offers = add(kMaxCopies);
    const auto held = hold(Side::kRight);
    start_and_wait_accepted(offers);
    watch();
    for (const Side side : {Side::kLeft, Side::kRight}) turn(side);
    for (const ContractOffer* offer : offers) expect_open(*offer);
    held->open();
    expect_ends(offers, StatusCode::kOk, StatusCode::kOk);
    for (const ContractOffer* offer : offers) EXPECT_THAT(expect_delivered(*offer), IsOk());
  }
}

TEST_F(HostOffloadTest, MoreOffersThanEventsWaitTheirTurn) {
  open(ContractPlace::kDevice, ContractPlace::kDevice);
  std::vector<ContractOffer*> offers = add(10 * kMaxCopies);
  offers.push_back(&pair().add(Side::kLeft, 0));
  {
    const auto held = hold(Side::kRight);
    start_and_wait_accepted(offers);
  }
  expect_ends(offers, StatusCode::kOk, StatusCode::kOk);
  for (const ContractOffer* offer : offers) EXPECT_THAT(expect_delivered(*offer), IsOk());
}

TEST_F(HostOffloadTest, ASourceNotCopiedYetIsNeverReadAfterItsSideCloses) {
  open();
  const std::vector<ContractOffer*> copying = add(kMaxCopies);
  const std::vector<ContractOffer*> waiting = add(kMaxCopies);
  const auto held = hold(Side::kRight);
  start_and_wait_accepted(copying);
  start_and_wait_accepted(waiting);
  pair().close(Side::kLeft);
  ASSERT_THAT(pair().wait_sent(waiting), IsOk());  // while nothing moves
  for (const ContractOffer* offer : waiting) {
    EXPECT_THAT(outcome(*offer).sent, StatusIs(StatusCode::kCancelled));
    poison(*offer->source);
  }
  watch();
  for (const ContractOffer* offer : copying) expect_open(*offer);
  EXPECT_EQ(pair().num_quiet(Side::kLeft), 0);

  held->open();
  ASSERT_THAT(pair().wait_quiet(Side::kLeft), IsOk());
  for (const ContractOffer* offer : copying) poison(*offer->source);
  expect_ends(copying, StatusCode::kCancelled, StatusCode::kOk);
  expect_ends(waiting, StatusCode::kCancelled, StatusCode::kUnavailable);
  for (const ContractOffer* offer : copying) EXPECT_THAT(expect_delivered(*offer), IsOk());
  for (const ContractOffer* offer : waiting) {
    EXPECT_THAT(expect_poison(*offer->destination, "a withdrawn offer's destination"), IsOk());
  }
}

TEST_F(HostOffloadTest, ASenderIsQuietThoughItsPeersExecutorIsBusy) {
  open();
  const std::vector<ContractOffer*> offers = add(kMaxCopies);
  const auto held = hold(Side::kRight);
  start_and_wait_accepted(offers);
  std::promise<void> go_on;
  fixture().executor(Side::kRight).post([future = go_on.get_future().share()] { future.wait(); });
  pair().close(Side::kLeft);
  watch();
  EXPECT_EQ(pair().num_quiet(Side::kLeft), 0);
  held->open();
  EXPECT_THAT(pair().wait_quiet(Side::kLeft), IsOk());
  for (const ContractOffer* offer : offers) poison(*offer->source);
  go_on.set_value();
  expect_ends(offers, StatusCode::kCancelled, StatusCode::kOk);
  for (const ContractOffer* offer : offers) EXPECT_THAT(expect_delivered(*offer), IsOk());
}

TEST_F(HostOffloadTest, AReceiverIsQuietWhenItsCopiesHaveEnded) {
  open();
  const std::vector<ContractOffer*> copying = add(kMaxCopies);
  const std::vector<ContractOffer*> waiting = add(kMaxCopies);
  const auto held = hold(Side::kRight);
  start_and_wait_accepted(copying);
  start_and_wait_accepted(waiting);
  pair().close(Side::kRight);
  expect_ends(waiting, StatusCode::kUnavailable, StatusCode::kCancelled);  // while nothing moves
  watch();
  for (const ContractOffer* offer : copying) expect_open(*offer);
  EXPECT_EQ(pair().num_quiet(Side::kRight), 0);

  held->open();
  ASSERT_THAT(pair().wait_quiet(Side::kRight), IsOk());
  std::vector<ContractOffer*> all = copying;
  all.insert(all.end(), waiting.begin(), waiting.end());
  for (const ContractOffer* offer : all) poison(*offer->destination);
  expect_ends(copying, StatusCode::kUnavailable, StatusCode::kCancelled);
  watch();
  for (const ContractOffer* offer : all) {
    EXPECT_THAT(expect_poison(*offer->destination, "memory of a quiet side"), IsOk());
  }
}

TEST_F(HostOffloadTest, ADestroyedSenderHasWaitedForCopiesOfItsMemory) {
  open();
  const std::vector<ContractOffer*> copying = add(kMaxCopies);
  const std::vector<ContractOffer*> waiting = add(1);
  auto held = hold(Side::kRight);
  start_and_wait_accepted(copying);
  start_and_wait_accepted(waiting);
  destroy_while(Side::kLeft, std::move(held));
  for (const ContractOffer* offer : copying) poison(*offer->source);
  for (const ContractOffer* offer : waiting) poison(*offer->source);
  ASSERT_THAT(pair().wait_received(copying), IsOk());
  ASSERT_THAT(pair().wait_received(waiting), IsOk());
  for (const ContractOffer* offer : copying) EXPECT_THAT(expect_delivered(*offer), IsOk());
  EXPECT_THAT(outcome(*waiting[0]).received, StatusIs(StatusCode::kUnavailable));
}

TEST_F(HostOffloadTest, ADestroyedReceiverHasWaitedForItsCopies) {
  open();
  const std::vector<ContractOffer*> offers = add(kMaxCopies + 1);
  auto held = hold(Side::kRight);
  start_and_wait_accepted(offers);
  destroy_while(Side::kRight, std::move(held));
  for (const ContractOffer* offer : offers) poison(*offer->destination);
  ASSERT_THAT(pair().wait_sent(offers), IsOk());
  for (const ContractOffer* offer : offers) {
    EXPECT_THAT(outcome(*offer).sent, StatusIs(StatusCode::kUnavailable));
    EXPECT_THAT(expect_poison(*offer->destination, "memory of a destroyed link"), IsOk());
  }
}

TEST_F(HostOffloadTest, ALostDeviceEndsWhatIsOpen) {
  open();
  const std::vector<ContractOffer*> offers = add(2 * kMaxCopies);
  ContractOffer& later = pair().add(Side::kRight, kBytes);
  const auto held = hold(Side::kRight);
  start_and_wait_accepted(offers);
  if (!test::lose_device(0)) GTEST_SKIP() << "a GPU would be lost for all further tests";
  expect_ends(offers, StatusCode::kDeviceLost, StatusCode::kDeviceLost);
  pair().start(later);
  expect_ends({&later}, StatusCode::kDeviceLost, StatusCode::kDeviceLost);
  for (const Side side : {Side::kLeft, Side::kRight}) {
    pair().close(side);
    EXPECT_THAT(pair().wait_quiet(side), IsOk());
  }
  held->open();
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
}

TEST_F(HostOffloadTest, ADeviceLostWhileClosingEndsIt) {
  open();
  const std::vector<ContractOffer*> offers = add(kMaxCopies);
  const auto held = hold(Side::kRight);
  start_and_wait_accepted(offers);
  for (const Side side : {Side::kLeft, Side::kRight}) pair().close(side);
  watch();
  if (!test::lose_device(0)) GTEST_SKIP() << "a GPU would be lost for all further tests";
  for (const Side side : {Side::kLeft, Side::kRight}) {
    EXPECT_THAT(pair().wait_quiet(side), IsOk());
  }
  expect_ends(offers, StatusCode::kDeviceLost, StatusCode::kDeviceLost);
  held->open();
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
}

TEST_F(HostOffloadTest, RefusesAPageableSource) {
  open(ContractPlace::kPageable, ContractPlace::kDevice);
  ContractOffer& offer = pair().add(Side::kLeft, kBytes);
  pair().start(offer);
  ASSERT_THAT(pair().wait_sent({&offer}), IsOk());
  EXPECT_THAT(outcome(offer).sent,
              StatusIs(StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("source is pageable"), HasSubstr("register it"))));
  EXPECT_EQ(outcome(offer).num_arrivals, 0);
}

TEST_F(HostOffloadTest, RefusesAPageableDestination) {
  open(ContractPlace::kDevice, ContractPlace::kPageable);
  ContractOffer& offer = pair().add(Side::kLeft, kBytes);
  pair().start(offer);
  expect_ends({&offer}, StatusCode::kFailedPrecondition, StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(outcome(offer).received.message()),
              AllOf(HasSubstr("destination is pageable"), HasSubstr("register it")));
  EXPECT_THAT(expect_poison(*offer.destination, "a pageable destination"), IsOk());
}

TEST_F(HostOffloadTest, TakesNoPayloadFromAndToAnywhere) {
  open(ContractPlace::kPageable, ContractPlace::kPageable);
  const std::vector<ContractOffer*> offers = add(1, 0);
  pair().replace_destination(*offers[0], 0);
  pair().start(*offers[0]);
  expect_ends(offers, StatusCode::kOk, StatusCode::kOk);
}

TEST_F(HostOffloadTest, SaysWhatItServes) {
  EXPECT_THAT(make_host_offload_transport(99),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("no CUDA device 99")));
  const std::unique_ptr<Transport> transport = make_host_offload_transport(0).value();
  EXPECT_EQ(transport->name(), "host_offload");
  EXPECT_TRUE(transport->moves_device_memory());
  EXPECT_THAT(transport->is_available(PeerClass::kSameProcess), IsOk());
  EXPECT_THAT(transport->is_available(PeerClass::kNetwork),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("network")));

  CudaPairFixture fixture(make_host_offload_transport(0).value(), ContractPlace::kPinned,
                          ContractPlace::kPinned);
  const auto pair = LinkPair::open(fixture).value();
  const LinkCapabilities capabilities = pair->capabilities(Side::kLeft);
  EXPECT_TRUE(capabilities.device_memory);
  EXPECT_TRUE(capabilities.fences_sources);
  EXPECT_THAT(capabilities.path, HasSubstr("CUDA device 0"));
}

TEST_F(HostOffloadTest, DoesNotConnectLinksOfTwoTransports) {
  const std::unique_ptr<Transport> other = make_host_offload_transport(0).value();
  CudaPairFixture fixture(make_host_offload_transport(0).value(), ContractPlace::kPinned,
                          ContractPlace::kPinned);
  const auto pair = LinkPair::open(fixture, false).value();
  const Status status = pair->run(Side::kLeft, [&](Link& own) -> Status {
    KVFERRY_ASSIGN_OR_RETURN(
        const std::unique_ptr<Link> stranger,
        other->open_link(PeerClass::kSameProcess, fixture.executor(Side::kLeft)));
    return own.connect(stranger->address());
  });
  EXPECT_THAT(status, StatusIs(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace kvferry
