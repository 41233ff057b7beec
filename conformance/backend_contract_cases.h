#pragma once

#include <vector>

#include "conformance/backend_contract_rig.h"

namespace kvferry {

// The parts of backend_contract_cases().
std::vector<BackendContractCase> backend_put_cases();
std::vector<BackendContractCase> backend_get_cases();
std::vector<BackendContractCase> backend_pin_cases();
std::vector<BackendContractCase> backend_capacity_cases();
std::vector<BackendContractCase> backend_traffic_cases();

/// `count` chunk numbers from `first` on.
inline std::vector<int> numbers_from(int first, int count) {
  std::vector<int> numbers(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) numbers[static_cast<size_t>(i)] = first + i;
  return numbers;
}

}  // namespace kvferry
