#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <tuple>

#include "conformance/backend_contract.h"
#include "tests/backends/peer/peer_rig.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

/// Every backend asks, and pushes to, a peer of its own.
class PeerFixture final : public BackendContractFixture {
 public:
  PeerFixture(std::string transport, bool pushes)
      : transport_(make_transport(transport).value()), pushes_(pushes) {}

  Result<std::unique_ptr<StorageBackend>> make(const BackendContext& context) override {
    PeerEngine& peer = peers_.emplace_back(peer_engine_options("peer", transport_));
    asking_.push_back(TransferEngine::create(peer_engine_options("asking", transport_)).value());
    PeerExchange& exchange = asking_.back()->exchange();
    KVFERRY_RETURN_IF_ERROR(exchange.connect(peer.address()));
    PeerOptions options;
    options.peers = {peer.address()};
    if (pushes_) options.push_to = "peer";
    options.timeout = item_limit();
    return make_peer_backend(context, exchange, options);
  }
  BackendTraits traits() const override {
    return {.retains = pushes_,
            .pins = false,
            .persists = false,
            .is_memory = false,
            .takes_puts = pushes_};
  }

 private:
  const std::shared_ptr<Transport> transport_;
  const bool pushes_;
  std::deque<PeerEngine> peers_;
  std::vector<std::unique_ptr<TransferEngine>> asking_;
};

struct Way {
  std::string transport;
  bool pushes;
};

using Row = std::tuple<BackendContractCase, Way>;

class PeerContract : public testing::TestWithParam<Row> {};

TEST_P(PeerContract, Holds) {
  const auto& [contract_case, way] = GetParam();
  PeerFixture fixture(way.transport, way.pushes);
  const std::string reason = why_skipped(contract_case, fixture);
  if (!reason.empty()) GTEST_SKIP() << reason;
  EXPECT_THAT(contract_case.run(fixture), IsOk());
}

std::string row_name(const testing::TestParamInfo<Row>& row) { return std::get<0>(row.param).name; }

auto rows(const Way& way) {
  return testing::Combine(testing::ValuesIn(backend_contract_cases()), testing::Values(way));
}

INSTANTIATE_TEST_SUITE_P(Loopback, PeerContract, rows({"loopback", true}), row_name);
INSTANTIATE_TEST_SUITE_P(OnlyAsked, PeerContract, rows({"loopback", false}), row_name);
#if KVFERRY_HAVE_UCX
INSTANTIATE_TEST_SUITE_P(Ucx, PeerContract, rows({"ucx", true}), row_name);
#endif

}  // namespace
}  // namespace kvferry
