#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tools/plugin/case_process.h"
#include "tools/plugin/check_options.h"

namespace kvferry {

/// The verdicts of a check, printed as they come.
class CheckReport {
 public:
  CheckReport(std::string library, CheckedClass checked)
      : library_(std::move(library)), checked_(std::move(checked)) {}

  void print_head() const;
  void skip(const std::string& name, const std::string& why) { note("SKIP", name, why, 0); }
  void take(const std::string& name, const CaseEnd& end, double seconds);
  /// The last case: whether a rule was broken in those before that none of them noticed.
  void judge_manners();
  void print_foot() const;

  bool keeps_contract() const { return num_failed_ == 0; }
  nlohmann::json to_json() const;

 private:
  void note(const char* verdict, const std::string& name, const std::string& text, double seconds);

  const std::string library_;
  const CheckedClass checked_;
  int num_failed_ = 0;
  CheckLoad load_;
  std::vector<std::pair<std::string, CaseVerdict>> verdicts_;  // by the name of the case
  nlohmann::json cases_ = nlohmann::json::array();
};

/// What a case that ended so has failed of, for people; empty if it holds.
std::string describe_failure(const std::string& library, const CaseEnd& end);

}  // namespace kvferry
