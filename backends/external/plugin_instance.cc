#include "backends/external/plugin_instance.h"

#include "backends/external/plugin_calls.h"
#include "backends/external/plugin_host.h"

namespace kvferry {

PluginInstance::PluginInstance(const BackendContext& context, const ExternalOptions& options)
    : limits_(options.limits),
      services_(context, options.settings, options.limits),
      host_(make_host_table(*this)),
      items_(options.limits),
      breaker_(options.limits.breaker_failures, options.limits.breaker_cooldown),
      tasks_(options.limits.max_posted_tasks) {}

// ---- what the backend calls

Status PluginInstance::named(const OpenItem& item, const Status& status) const {
  return status.with_context("backend " + services_.name() + ": " +
                             std::string(plugin_call_name(item.group->kind)) + " of " +
                             item.key.to_string());
}

void PluginInstance::end_all(const std::vector<OpenItems::Ptr>& items, const Status& status) {
  for (const OpenItems::Ptr& item : items) {
    ItemOutcome outcome;
    outcome.status = named(*item, status);
    end_item(*item, std::move(outcome));
  }
}

Status PluginInstance::admit(TimePoint now) {
  if (phase_ != Phase::kRunning) return Status(StatusCode::kCancelled, "it is closed");
  if (is_stuck_) {
    return Status(StatusCode::kUnavailable, "the plugin has not returned from a call for " +
                                                milliseconds_text(limits_.timeout));
  }
  if (!breaker_.let_pass(now)) {
    return Status(StatusCode::kUnavailable, "the plugin failed " +
                                                std::to_string(limits_.breaker_failures) +
                                                " times in a row and is left alone for " +
                                                milliseconds_text(limits_.breaker_cooldown));
  }
  return Status();
}

void PluginInstance::submit(const std::shared_ptr<const ItemGroup>& group,
                            std::span<const CacheEngineKey> keys,
                            std::span<const MemoryObjPtr> objs) {
  std::vector<std::pair<size_t, Status>> refused;
  const TimePoint now = services_.now();
  {
    MutexLock lock(mutex_);
    for (size_t i = 0; i < keys.size(); ++i) {
      Status status = admit(now);
      if (status.is_ok()) {
        status = items_.add(group, i, keys[i], objs.empty() ? MemoryObjPtr() : objs[i]);
      }
      if (!status.is_ok()) refused.emplace_back(i, std::move(status));
    }
    arm_timer();
  }
  changed_.notify_all();
  if (!refused.empty()) services_.add("external_refused", refused.size());
  for (auto& [index, status] : refused) {
    ItemOutcome outcome;
    outcome.status = status.with_context("backend " + services_.name());
    group->done(index, std::move(outcome));
  }
}

void PluginInstance::close(std::function<void()> on_closed) {
  std::vector<OpenItems::Ptr> queued;
  {
    MutexLock lock(mutex_);
    phase_ = Phase::kClosing;
    on_closed_ = std::move(on_closed);
    close_deadline_ = services_.now() + limits_.close_timeout;
    queued = items_.remove_queued();
    arm_timer();
    changed_.notify_all();
  }
  for (const OpenItems::Ptr& item : queued) item->obj.reset();
  end_all(queued, Status(StatusCode::kCancelled, "it is closing"));
}

void PluginInstance::abandon() {
  std::vector<OpenItems::Ptr> queued;
  std::vector<OpenItems::Ptr> given;
  std::function<void()> on_closed;
  ItemCounts held;
  {
    MutexLock lock(mutex_);
    if (phase_ == Phase::kClosed || phase_ == Phase::kAbandoned) return;
    phase_ = Phase::kAbandoned;
    queued = items_.remove_queued();
    given = items_.quarantine_given();
    held = items_.quarantined();
    on_closed = std::exchange(on_closed_, nullptr);
    changed_.notify_all();
  }
  services_.add("external_abandoned", 1);
  services_.log(LogLevel::kError,
                "external_backend_abandoned backend=" + services_.name() + " items_held=" +
                    std::to_string(held.items) + " bytes_held=" + std::to_string(held.bytes) +
                    " advice=\"the plugin did not close in time; its memory stays until the "
                    "process ends\"");
  for (const OpenItems::Ptr& item : queued) item->obj.reset();
  end_all(queued, Status(StatusCode::kCancelled, "it is closing"));
  end_all(given, Status(StatusCode::kCancelled, "it was left behind without an answer"));
  services_.close();
  if (on_closed) on_closed();
}

// ---- how it stands, for operators

void PluginInstance::count_violation(const std::string& what) {
  uint64_t count = 0;
  {
    MutexLock lock(mutex_);
    count = ++violations_;
  }
  services_.add("external_violations", 1);
  // The 1st, 2nd, 4th, 8th...: a plugin that does nothing else does not fill the log.
  if ((count & (count - 1)) != 0) return;
  services_.log(LogLevel::kWarn, "external_violation backend=" + services_.name() + " what=\"" +
                                     what + "\" count=" + std::to_string(count));
}

void PluginInstance::publish() {
  ItemCounts quarantined;
  bool is_stuck = false;
  bool is_open = false;
  bool has_opened = false;
  std::string last_failure;
  {
    MutexLock lock(mutex_);
    quarantined = items_.quarantined();
    is_stuck = is_stuck_;
    is_open = breaker_.is_open();
    has_opened = is_open && !was_breaker_open_;
    was_breaker_open_ = is_open;
    if (has_opened) last_failure = last_failure_;
  }
  if (has_opened) {
    services_.add("external_breaker_opened", 1);
    services_.log(LogLevel::kWarn, "external_breaker_opened backend=" + services_.name() +
                                       " failures=" + std::to_string(limits_.breaker_failures) +
                                       " error=\"" + last_failure + "\"");
  }
  services_.set("external_quarantined_items", static_cast<double>(quarantined.items));
  services_.set("external_quarantined_bytes", static_cast<double>(quarantined.bytes));
  services_.set("external_stuck", is_stuck ? 1 : 0);
  services_.set("external_breaker_is_open", is_open ? 1 : 0);
}

}  // namespace kvferry
