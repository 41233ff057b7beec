#pragma once

#include <vector>

#include "conformance/transport_contract.h"

namespace kvferry {

/// The cases about connecting, closing and destroying links; part of transport_contract_cases().
std::vector<TransportContractCase> transport_lifecycle_cases();

}  // namespace kvferry
