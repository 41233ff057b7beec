#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kvferry/logger.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// Keeps the lines of a level and above.
///
/// Threads: any thread.
class RecordedLog final : public Logger {
 public:
  explicit RecordedLog(LogLevel least = LogLevel::kDebug) : least_(least) {}

  bool enabled(LogLevel level) const override { return level >= least_; }
  void log(LogLevel level, std::string_view line) override {
    if (!enabled(level)) return;
    MutexLock lock(mutex_);
    lines_.emplace_back(line);
  }
  std::vector<std::string> lines() const {
    MutexLock lock(mutex_);
    return lines_;
  }

 private:
  const LogLevel least_;
  mutable Mutex mutex_;
  std::vector<std::string> lines_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
