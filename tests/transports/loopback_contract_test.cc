#include "tests/transports/thread_pair_fixture.h"
#include "transports/loopback/factory.h"

namespace kvferry {
namespace {

class LoopbackContract : public testing::TestWithParam<TransportContractCase> {};

TEST_P(LoopbackContract, Holds) {
  run_contract_case(GetParam(), make_loopback_transport(), PeerClass::kSameProcess);
}

INSTANTIATE_TEST_SUITE_P(Loopback, LoopbackContract, testing::ValuesIn(transport_contract_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace kvferry
