#pragma once

#include <string_view>

#include "kvferry/logger.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// Passes lines on to a borrowed logger until it is detached, after which the other may end: for
/// threads that nobody can wait for.
///
/// Threads: any thread, internally locked.
class DetachableLogger final : public Logger {
 public:
  explicit DetachableLogger(Logger* to) : to_(to) {}

  void detach() KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    to_ = nullptr;
  }
  bool enabled(LogLevel level) const override KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return to_ != nullptr && to_->enabled(level);
  }
  void log(LogLevel level, std::string_view line) override KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (to_ != nullptr) to_->log(level, line);
  }

 private:
  mutable Mutex mutex_;
  Logger* to_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
