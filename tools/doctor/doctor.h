#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kvferry {

enum class Health : uint8_t {
  kOk,
  kLimited,  ///< kvferry works, slower or without something; `advice` says what to do
  kMissing,  ///< something that kvferry cannot do here
};

/// One thing that matters to transfers, as it is on this machine.
struct Finding {
  std::string subject;
  Health health = Health::kOk;
  std::string found;
  std::string advice;  ///< empty when there is nothing to do
};

/// Looks at devices, transports and limits. Starts no transfer, changes nothing; takes well under a
/// second.
std::vector<Finding> examine_machine();

/// `kvferry doctor`: prints the findings, and writes them to `json_path` unless it is empty.
/// Exit code 0 when chunks can move between processes here, else 1; 2 if the file cannot be
/// written.
int run_doctor(const std::string& json_path);

}  // namespace kvferry
