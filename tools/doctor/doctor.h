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

/// As they were typed.
struct DoctorFlags {
  std::optional<std::string> json;
  std::optional<std::string> engine;      ///< HOST:PORT of a running engine to be asked, too
  std::optional<std::string> token_file;  ///< for it
};

/// `kvferry doctor`: prints the findings, and writes them to a file if there is one.
/// Exit code 0 when chunks can move between processes here, else 1, as when the output cannot be
/// written; 2 if a flag is wrong, the file cannot be opened or the engine not asked.
int run_doctor(const DoctorFlags& flags);

}  // namespace kvferry
