#pragma once

#include <chrono>
#include <string>

#include "tools/plugin/case_report.h"
#include "tools/plugin/plugin_command.h"

namespace kvferry {

struct CaseEnd {
  CaseReport report;
  /// How the process ended, if not by itself after its report: "was killed by signal 11
  /// (Segmentation fault)", "did not end within 120 s and was stopped"; empty: all is well.
  std::string fault;
};

/// Runs one case of a check with these flags in a process of its own: this program once more, its
/// stdout sent to our stderr, so that what a plugin prints is seen and is no verdict.
/// Errors: kResourceExhausted with the errno.
Result<CaseEnd> run_case_process(const PluginCheckFlags& flags, const std::string& case_name,
                                 std::chrono::seconds limit);

}  // namespace kvferry
