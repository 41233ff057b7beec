#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conformance/transport_contract.h"
#include "transports/sim/sim_transport.h"

namespace kvferry {
namespace {

class SimFixture final : public TransportContractFixture {
 public:
  SimFixture(uint64_t seed, PeerClass peer_class)
      : world_(seed),
        network_(world_, nullptr),
        transport_(network_),
        executors_{&world_.add_process("left").add_executor(),
                   &world_.add_process("right").add_executor()},
        peer_class_(peer_class) {}

  Transport& transport(Side) override { return transport_; }
  Executor& executor(Side side) override { return *executors_[static_cast<size_t>(side)]; }
  PeerClass peer_class() const override { return peer_class_; }
  bool run_until(const std::function<bool()>& done, Duration limit) override {
    return world_.run_until(done, world_.now() + limit);
  }

 private:
  SimWorld world_;
  SimNetwork network_;
  SimTransport transport_;
  SimExecutor* executors_[2];
  const PeerClass peer_class_;
};

class SimContract : public testing::TestWithParam<TransportContractCase> {};

TEST_P(SimContract, HoldsForManySeeds) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    for (const PeerClass peer_class : {PeerClass::kSameHostPull, PeerClass::kNetwork}) {
      SimFixture fixture(seed, peer_class);
      const Status status = GetParam().run(fixture);
      EXPECT_TRUE(status.is_ok() || GetParam().is_advisory)
          << "seed " << seed << ", " << peer_class_name(peer_class) << ": " << status.to_string();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sim, SimContract, testing::ValuesIn(transport_contract_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace kvferry
