#pragma once

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kvferry/logger.h"
#include "kvferry/mutex.h"
#include "kvferry/status.h"

namespace kvferry {

/// What instances of a plugin log while a case runs: to the end of a file, if there is one; and
/// which rules they broke, as the host says there.
///
/// Threads: any thread, internally locked
class CheckLog final : public Logger {
 public:
  /// Errors: kUnavailable naming the file and the errno.
  static Result<std::unique_ptr<CheckLog>> open(const std::optional<std::string>& path,
                                                const std::string& case_name);
  ~CheckLog() override;
  CheckLog(const CheckLog&) = delete;
  CheckLog& operator=(const CheckLog&) = delete;

  bool enabled(LogLevel) const override { return true; }
  void log(LogLevel level, std::string_view line) override;
  std::vector<std::string> violations() const KVFERRY_EXCLUDES(mutex_);

 private:
  CheckLog(std::FILE* file, std::string case_name);

  std::FILE* const file_;  // null: none
  const std::string case_name_;
  mutable Mutex mutex_;
  std::vector<std::string> violations_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
