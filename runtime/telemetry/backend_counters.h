#pragma once

#include <algorithm>
#include <map>
#include <string>

#include "kvferry/backend_context.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// What one backend counts for itself. Names that a stranger makes up without end are left out
/// after the first kMaxNames.
///
/// Threads: any thread, internally locked.
class BackendCounters final : public BackendMetrics {
 public:
  static constexpr size_t kMaxNames = 64;

  void add(std::string_view counter, uint64_t amount) override KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (double* value = find(counters_, counter)) *value += static_cast<double>(amount);
  }
  void set(std::string_view gauge, double value) override KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (double* place = find(gauges_, gauge)) *place = value;
  }

  std::map<std::string, double> counters() const KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return {counters_.begin(), counters_.end()};
  }
  std::map<std::string, double> gauges() const KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return {gauges_.begin(), gauges_.end()};
  }

 private:
  using Values = std::map<std::string, double, std::less<>>;

  static bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    });
  }
  static double* find(Values& values, std::string_view name) {
    const auto found = values.find(name);
    if (found != values.end()) return &found->second;
    if (values.size() == kMaxNames || !is_name(name)) return nullptr;
    return &values.emplace(name, 0).first->second;
  }

  mutable Mutex mutex_;
  Values counters_ KVFERRY_GUARDED_BY(mutex_);
  Values gauges_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
