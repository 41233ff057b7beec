#include "conformance/backend_contract.h"

#include <iterator>
#include <utility>

#include "conformance/backend_contract_cases.h"

namespace kvferry {

Result<std::unique_ptr<StorageBackend>> BackendContractFixture::reopen(
    const BackendContext& /*context*/) {
  return make_error(StatusCode::kUnimplemented,
                    "the backend persists, but its fixture does not say how to reopen it");
}

std::vector<BackendContractCase> backend_contract_cases() {
  std::vector<BackendContractCase> cases;
  for (auto& part : {backend_put_cases(), backend_get_cases(), backend_pin_cases(),
                     backend_capacity_cases(), backend_traffic_cases()}) {
    cases.insert(cases.end(), part.begin(), part.end());
  }
  return cases;
}

std::string why_skipped(const BackendContractCase& contract_case,
                        const BackendContractFixture& fixture) {
  const BackendTraits traits = fixture.traits();
  switch (contract_case.part) {
    case ContractPart::kAll:
      return "";
    case ContractPart::kRetains:
      return traits.retains ? "" : "the backend retains nothing";
    case ContractPart::kRetainsNot:
      return traits.retains ? "the backend retains" : "";
    case ContractPart::kPins:
      if (!traits.pins) return "the backend does not pin";
      return traits.retains ? "" : "the backend retains nothing that could be pinned";
    case ContractPart::kPinsNot:
      return traits.pins ? "the backend pins" : "";
    case ContractPart::kPersists:
      return traits.persists ? "" : "the store ends with the process";
    case ContractPart::kCapacity:
      return fixture.capacity_bytes() > 0 ? "" : "the store has no bound that can be filled";
  }
  return "";
}

}  // namespace kvferry
