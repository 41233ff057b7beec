#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
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
  std::string advice;                           ///< empty when there is nothing to do
  std::optional<int64_t> value = std::nullopt;  ///< `found` as a number, where it is one
  std::string unit = "";                        ///< of the value: "bytes", "cores", ...
};

/// Looks at devices, transports and limits. Starts no transfer, changes nothing; takes well under a
/// second.
std::vector<Finding> examine_machine();

/// The findings for people and for programs; `works` says whether chunks can move here.
std::string findings_text(const std::vector<Finding>& findings, bool works);
nlohmann::json findings_json(const std::vector<Finding>& findings, bool works);

/// `kvferry doctor`: prints the findings, and writes them to `json_path` if there is one.
/// Exit code 0 when chunks can move between processes here, else 1, as when the output cannot be
/// written; 2 if the file cannot be opened.
int run_doctor(const std::optional<std::string>& json_path);

}  // namespace kvferry
