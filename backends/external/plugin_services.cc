#include "backends/external/plugin_services.h"

#include <algorithm>
#include <cstring>

namespace kvferry {
namespace {

constexpr size_t kMaxLineBytes = 4096;
constexpr size_t kMaxMetricNames = 64;
constexpr size_t kMaxMetricNameBytes = 64;
// Ours: a plugin that could set them could hide what it does.
constexpr std::string_view kReservedPrefix = "external_";

bool is_metric_name(std::string_view name) {
  const bool is_plain = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
  return is_plain && !name.empty() && name.size() <= kMaxMetricNameBytes &&
         name.substr(0, kReservedPrefix.size()) != kReservedPrefix;
}

LogLevel log_level(int32_t level) {
  switch (level) {
    case KVFERRY_LOG_DEBUG:
      return LogLevel::kDebug;
    case KVFERRY_LOG_INFO:
      return LogLevel::kInfo;
    case KVFERRY_LOG_WARN:
      return LogLevel::kWarn;
    default:
      return LogLevel::kError;
  }
}

}  // namespace

PluginServices::PluginServices(BackendContext context, ConfigSection settings,
                               const PluginLimits& limits)
    : context_(std::move(context)), settings_(std::move(settings)), limits_(limits) {}

TimePoint PluginServices::now() {
  const ContextGate::Entry entry(gate_);
  MutexLock lock(mutex_);
  if (entry) last_now_ = context_.executor->clock().now();
  return last_now_;
}

bool PluginServices::post_at(TimePoint when, Executor::Task task) {
  const ContextGate::Entry entry(gate_);
  if (entry) context_.executor->post_at(when, std::move(task));
  return static_cast<bool>(entry);
}

Result<MemoryObjPtr> PluginServices::allocate(size_t size_bytes) {
  const ContextGate::Entry entry(gate_);
  if (!entry) return make_error(StatusCode::kCancelled, "backend " + name() + " is closed");
  return context_.allocator->allocate(size_bytes);
}

void PluginServices::log(LogLevel level, const std::string& line) {
  const ContextGate::Entry entry(gate_);
  if (entry && context_.logger != nullptr) context_.logger->log(level, line);
}

void PluginServices::add(std::string_view counter, uint64_t amount) {
  const ContextGate::Entry entry(gate_);
  if (entry && context_.metrics != nullptr) context_.metrics->add(counter, amount);
}

void PluginServices::set(std::string_view gauge, double value) {
  const ContextGate::Entry entry(gate_);
  if (entry && context_.metrics != nullptr) context_.metrics->set(gauge, value);
}

bool PluginServices::may_log(TimePoint now) {
  MutexLock lock(mutex_);
  if (now >= log_window_end_) {
    log_window_end_ = now + std::chrono::seconds(1);
    log_lines_ = 0;
  }
  return log_lines_++ < limits_.max_log_lines_per_second;
}

void PluginServices::plugin_log(int32_t level, const char* line) {
  if (line == nullptr) return;
  if (!may_log(now())) {
    add("external_log_lines_dropped", 1);
    return;
  }
  std::string text = name() + ": " + std::string(line, ::strnlen(line, kMaxLineBytes));
  // One line stays one line, whatever is in it.
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  log(log_level(level), text);
}

bool PluginServices::may_use_metric(const char* name) {
  if (name == nullptr) return false;
  const std::string_view text(name, ::strnlen(name, kMaxMetricNameBytes + 1));
  if (!is_metric_name(text)) return false;
  MutexLock lock(mutex_);
  if (metric_names_.find(text) != metric_names_.end()) return true;
  if (metric_names_.size() >= kMaxMetricNames) return false;
  metric_names_.emplace(text);
  return true;
}

void PluginServices::plugin_add(const char* counter, uint64_t amount) {
  if (may_use_metric(counter)) {
    add(counter, amount);
  } else {
    add("external_metrics_refused", 1);
  }
}

void PluginServices::plugin_set(const char* gauge, double value) {
  if (may_use_metric(gauge)) {
    set(gauge, value);
  } else {
    add("external_metrics_refused", 1);
  }
}

void PluginServices::set_usage(const kvferry_usage* usage) {
  if (usage == nullptr || !KVFERRY_HAS(usage, kvferry_usage, evicted_entries)) return;
  MutexLock lock(mutex_);
  usage_.entries = usage->entries;
  usage_.bytes = usage->bytes;
  usage_.capacity_bytes = usage->capacity_bytes;
  usage_.pinned_entries = usage->pinned_entries;
  usage_.evicted_entries = usage->evicted_entries;
}

BackendUsage PluginServices::usage() const {
  MutexLock lock(mutex_);
  return usage_;
}

}  // namespace kvferry
