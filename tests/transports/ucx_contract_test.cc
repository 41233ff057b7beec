#include <string>
#include <tuple>

#include "tests/transports/thread_pair_fixture.h"
#include "transports/ucx/factory.h"

namespace kvferry {
namespace {

// Two threads of one process, each with a worker of its own: to UCX they are two peers.
class UcxContract : public testing::TestWithParam<std::tuple<PeerClass, TransportContractCase>> {};

TEST_P(UcxContract, Holds) {
  const auto& [peer_class, contract_case] = GetParam();
  run_contract_case(contract_case, make_ucx_transport(), peer_class);
}

std::string name_of(const testing::TestParamInfo<UcxContract::ParamType>& param_info) {
  const auto& [peer_class, contract_case] = param_info.param;
  return std::string(peer_class_name(peer_class)) + "_" + contract_case.name;
}

INSTANTIATE_TEST_SUITE_P(Ucx, UcxContract,
                         testing::Combine(testing::Values(PeerClass::kSameHostPull,
                                                          PeerClass::kSameHostShm,
                                                          PeerClass::kNetwork),
                                          testing::ValuesIn(transport_contract_cases())),
                         name_of);

}  // namespace
}  // namespace kvferry
