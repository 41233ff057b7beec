// Device memory over UCX: moved where UCX says that it does, else never shown to it. UCX would read
// it as host memory, which ends the process, on the simulated device as on a GPU.

#include <gmock/gmock.h>

#include <array>
#include <optional>
#include <vector>

#include "cuda/device_memory.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "tests/support/cuda_test.h"
#include "tests/support/eventually.h"
#include "tests/support/run_on.h"
#include "tests/support/status_matchers.h"
#include "transports/ucx/factory.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

constexpr size_t kEagerBytes = 1000;
constexpr size_t kRendezvousBytes = size_t{1} << 20U;

/// One end of a link, which takes what is offered into one destination.
class LinkEnd {
 public:
  LinkEnd(Transport& transport, PeerClass peer_class)
      : executor_(ThreadExecutor::create("end", clock_).value()) {
    run_on(*executor_, [&] {
      link_ = transport.open_link(peer_class, *executor_).value();
      link_->set_offer_handler([this](std::span<const std::byte>, size_t) -> OfferReply {
        return AcceptOffer{destination_, [this](Status status) { received_ = std::move(status); }};
      });
    });
  }
  ~LinkEnd() {
    run_on(*executor_, [&] { link_.reset(); });
  }
  LinkEnd(const LinkEnd&) = delete;
  LinkEnd& operator=(const LinkEnd&) = delete;

  std::string address() {
    return run_on(*executor_, [&] { return link_->address(); });
  }
  Status connect(const std::string& address) {
    return run_on(*executor_, [&] { return link_->connect(address); });
  }
  LinkCapabilities capabilities() {
    return run_on(*executor_, [&] { return link_->capabilities(); });
  }

  void take_into(std::span<std::byte> destination) {
    run_on(*executor_, [&] {
      destination_ = destination;
      received_.reset();
    });
  }
  void offer(std::span<const std::byte> source) {
    run_on(*executor_, [&] {
      sent_.reset();
      link_->offer({}, source, [this](Status status) { sent_ = std::move(status); });
    });
  }
  std::optional<Status> sent() { return ended(sent_); }
  std::optional<Status> received() { return ended(received_); }

 private:
  std::optional<Status> ended(std::optional<Status>& what) {
    eventually([&] { return run_on(*executor_, [&] { return what.has_value(); }); });
    return run_on(*executor_, [&] { return what; });
  }

  const SteadyClock clock_;
  // All on executor_.
  std::unique_ptr<Link> link_;
  std::span<std::byte> destination_;
  std::optional<Status> sent_;
  std::optional<Status> received_;
  std::unique_ptr<ThreadExecutor> executor_;
};

class UcxDeviceMemory : public test::CudaTest {
 protected:
  struct Pair {
    Pair(Transport& transport, PeerClass peer_class)
        : left(transport, peer_class), right(transport, peer_class) {
      EXPECT_THAT(left.connect(right.address()), IsOk());
      EXPECT_THAT(right.connect(left.address()), IsOk());
    }

    LinkEnd left;
    LinkEnd right;
  };

  static constexpr std::array kClasses = {PeerClass::kSameHostPull, PeerClass::kSameHostShm,
                                          PeerClass::kNetwork};

  std::vector<std::byte> random_bytes(size_t count) {
    std::vector<std::byte> bytes(count);
    for (std::byte& each : bytes) each = static_cast<std::byte>(rng());
    return bytes;
  }

  void move_host_memory(Pair& pair) {
    for (const size_t size : {kEagerBytes, kRendezvousBytes}) {
      const std::vector<std::byte> source = random_bytes(size);
      std::vector<std::byte> destination(size);
      pair.right.take_into(destination);
      pair.left.offer(source);
      EXPECT_THAT(pair.left.sent(), ::testing::Optional(IsOk()));
      EXPECT_THAT(pair.right.received(), ::testing::Optional(IsOk()));
      EXPECT_EQ(destination, source);
    }
  }

  const std::unique_ptr<Transport> transport = make_ucx_transport();
};

TEST_F(UcxDeviceMemory, IsRefusedWhereUcxDoesNotMoveItAndTheLinkGoesOn) {
  if (transport->moves_device_memory()) GTEST_SKIP() << "this UCX moves it";
  const auto refusal = ::testing::Optional(
      StatusIs(StatusCode::kInvalidArgument,
               HasSubstr("this UCX does not move it; stage it through pinned host memory")));
  for (const PeerClass peer_class : kClasses) {
    SCOPED_TRACE(peer_class_name(peer_class));
    Pair pair(*transport, peer_class);
    EXPECT_FALSE(pair.left.capabilities().device_memory);
    for (const size_t size : {kEagerBytes, kRendezvousBytes}) {
      SCOPED_TRACE(size);
      const DeviceMemory device = DeviceMemory::create(0, size).value();
      const std::span<std::byte> on_device(device.data(), size);
      const std::vector<std::byte> on_host(size);

      pair.left.offer(on_device);
      EXPECT_THAT(pair.left.sent(), refusal);
      pair.left.offer(on_device.last(1));
      EXPECT_THAT(pair.left.sent(), refusal);

      pair.right.take_into(on_device);
      pair.left.offer(on_host);
      EXPECT_THAT(pair.right.received(), refusal);
      // An eager message has left its sender.
      EXPECT_THAT(
          pair.left.sent(),
          ::testing::Optional(size == kEagerBytes ? StatusIs(StatusCode::kOk)
                                                  : StatusIs(StatusCode::kFailedPrecondition)));
    }
    move_host_memory(pair);
  }
}

TEST_F(UcxDeviceMemory, MovesBetweenAnyTwoMemoriesWhereUcxMovesIt) {
  if (!transport->moves_device_memory()) GTEST_SKIP() << "this UCX does not move it";
  for (const PeerClass peer_class : kClasses) {
    SCOPED_TRACE(peer_class_name(peer_class));
    Pair pair(*transport, peer_class);
    EXPECT_TRUE(pair.left.capabilities().device_memory);
    for (const size_t size : {kEagerBytes, kRendezvousBytes}) {
      SCOPED_TRACE(size);
      const std::vector<std::byte> bytes = random_bytes(size);
      const DeviceMemory source = DeviceMemory::create(0, size).value();
      const DeviceMemory destination = DeviceMemory::create(num_devices() - 1, size).value();
      const std::span<std::byte> on_source(source.data(), size);
      const std::span<std::byte> on_destination(destination.data(), size);
      std::vector<std::byte> on_host(size);
      test::write_device(source.data(), bytes);

      pair.right.take_into(on_destination);
      pair.left.offer(on_source);
      EXPECT_THAT(pair.right.received(), ::testing::Optional(IsOk()));
      EXPECT_EQ(test::read_device(destination.data(), size), bytes);

      pair.right.take_into(on_host);
      pair.left.offer(on_source);
      EXPECT_THAT(pair.right.received(), ::testing::Optional(IsOk()));
      EXPECT_EQ(on_host, bytes);

      const std::vector<std::byte> others = random_bytes(size);
      pair.right.take_into(on_destination);
      pair.left.offer(others);
      EXPECT_THAT(pair.right.received(), ::testing::Optional(IsOk()));
      EXPECT_EQ(test::read_device(destination.data(), size), others);
    }
    move_host_memory(pair);
  }
}

}  // namespace
}  // namespace kvferry
