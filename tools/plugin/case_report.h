#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/external/plugin_library.h"
#include "kvferry/storage_backend.h"
#include "tools/plugin/check_cases.h"

namespace kvferry {

/// The class that is checked.
struct CheckedClass {
  std::string name;
  std::string version;  ///< the plugin's own
  BackendTraits traits;
};

/// How a case went that was run to its end.
struct CaseVerdict {
  std::string failure;  ///< empty: it holds
  /// Rules that the plugin broke, as the host saw it; each kind once or a few times.
  std::vector<std::string> violations;
  std::map<std::string, uint64_t> counters;
  CheckLoad load;
};

/// What the process of a case tells of itself, in the order in which it gets there: what is not
/// there when the process ends is what it ended in.
struct CaseReport {
  std::string refusal;  ///< why no instance can be had; nothing follows
  std::optional<CheckedClass> loaded;
  bool is_made = false;  ///< the first instance
  std::optional<CaseVerdict> verdict;
  std::string crash_place;  ///< offset in the library, as 0x12a4; empty: none, or not in it

  /// Lines that are no report (the plugin may write anywhere) are left out.
  void take_line(std::string_view line);
};

/// Writes a CaseReport, line by line, to a descriptor that it owns.
///
/// Threads: one
class CaseReporter {
 public:
  explicit CaseReporter(int fd) : fd_(fd) {}

  void refused(const std::string& why) const;
  void loaded(const CheckedClass& loaded) const;
  void made() const;
  void ended(const CaseVerdict& verdict) const;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace kvferry
