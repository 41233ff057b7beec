#include <ostream>
#include <string>
#include <tuple>

#include "tests/support/cuda_test.h"
#include "tests/transports/cuda_pair_fixture.h"
#include "transports/host_offload/factory.h"

namespace kvferry {
namespace {

/// The left side's memory and the right side's. Most cases offer from left to right.
struct Places {
  const char* name;
  ContractPlace left;
  ContractPlace right;
};

// How GoogleTest prints them.
void PrintTo(const Places& places, std::ostream* out) { *out << places.name; }

class HostOffloadContract
    : public test::CudaTest,
      public testing::WithParamInterface<std::tuple<Places, TransportContractCase>> {};

TEST_P(HostOffloadContract, Holds) {
  const auto& [places, contract_case] = GetParam();
  CudaPairFixture fixture(make_host_offload_transport(0).value(), places.left, places.right);
  run_contract_case(contract_case, fixture);
}

constexpr Places kPlaces[] = {
    {"DeviceToPinned", ContractPlace::kDevice, ContractPlace::kPinned},
    {"PinnedToDevice", ContractPlace::kPinned, ContractPlace::kDevice},
    {"DeviceToDevice", ContractPlace::kDevice, ContractPlace::kDevice},
    {"PinnedToPinned", ContractPlace::kPinned, ContractPlace::kPinned},
};

std::string name_of(const testing::TestParamInfo<HostOffloadContract::ParamType>& param_info) {
  const auto& [places, contract_case] = param_info.param;
  return std::string(places.name) + "_" + contract_case.name;
}

INSTANTIATE_TEST_SUITE_P(HostOffload, HostOffloadContract,
                         testing::Combine(testing::ValuesIn(kPlaces),
                                          testing::ValuesIn(transport_contract_cases())),
                         name_of);

}  // namespace
}  // namespace kvferry
