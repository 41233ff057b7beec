#pragma once

#include <set>
#include <string>
#include <string_view>

#include "backends/external/context_gate.h"
#include "backends/external/factory.h"
#include "kvferry/plugin_abi.h"

namespace kvferry {

/// What a plugin gets of its backend's context, within bounds, until close().
///
/// Threads: any thread, internally locked
class PluginServices {
 public:
  PluginServices(BackendContext context, ConfigSection settings, const PluginLimits& limits);

  /// The context is not touched any more once this returns. Not from inside an Entry.
  void close() { gate_.close(); }
  ContextGate& gate() { return gate_; }

  const std::string& name() const { return context_.name; }
  const ConfigSection& settings() const { return settings_; }

  /// Stands still after close().
  TimePoint now();
  /// False after close().
  bool post_at(TimePoint when, Executor::Task task);
  /// Errors: as the allocator's; kCancelled after close().
  Result<MemoryObjPtr> allocate(size_t size_bytes);

  // Of ours.
  void log(LogLevel level, const std::string& line);
  void add(std::string_view counter, uint64_t amount);
  void set(std::string_view gauge, double value);

  // Of the plugin's.
  void plugin_log(int32_t level, const char* line);
  void plugin_add(const char* counter, uint64_t amount);
  void plugin_set(const char* gauge, double value);
  void set_usage(const kvferry_usage* usage);
  BackendUsage usage() const KVFERRY_EXCLUDES(mutex_);

 private:
  bool may_log(TimePoint now) KVFERRY_EXCLUDES(mutex_);
  bool may_use_metric(const char* name) KVFERRY_EXCLUDES(mutex_);

  const BackendContext context_;
  const ConfigSection settings_;
  const PluginLimits limits_;
  ContextGate gate_;

  mutable Mutex mutex_;
  TimePoint last_now_ KVFERRY_GUARDED_BY(mutex_);
  TimePoint log_window_end_ KVFERRY_GUARDED_BY(mutex_);
  uint32_t log_lines_ KVFERRY_GUARDED_BY(mutex_) = 0;
  std::set<std::string, std::less<>> metric_names_ KVFERRY_GUARDED_BY(mutex_);
  BackendUsage usage_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
