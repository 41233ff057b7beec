#include "backends/external/plugin_instance.h"

#include <array>
#include <limits>

#include "backends/external/plugin_calls.h"
#include "backends/external/plugin_host.h"
#include "kvferry/chunk_record.h"

namespace kvferry {
namespace {

// No item ever gets this number.
constexpr kvferry_item kCloseItem = std::numeric_limits<kvferry_item>::max();

std::string seconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) +
         " ms";
}

}  // namespace

// ---- start

PluginInstance::PluginInstance(const BackendContext& context, const ExternalOptions& options)
    : limits_(options.limits),
      services_(context, options.settings, options.limits),
      host_(make_host_table(*this)),
      items_(options.limits),
      breaker_(options.limits.breaker_failures, options.limits.breaker_cooldown) {}

Result<std::shared_ptr<PluginInstance>> PluginInstance::start(const BackendContext& context,
                                                              const ExternalOptions& options) {
  KVFERRY_ASSIGN_OR_RETURN(const std::string path,
                           find_plugin_library(options.module_path, options.search_path));
  if (!context.start_thread) {
    return make_error(StatusCode::kInvalidArgument,
                      "an external backend needs BackendContext::start_thread");
  }
  std::shared_ptr<PluginInstance> instance(new PluginInstance(context, options));
  KVFERRY_RETURN_IF_ERROR(context.start_thread(
      "kv:" + context.name,
      [instance, path, class_name = options.class_name] { instance->run(path, class_name); }));

  const TimePoint deadline = instance->services_.now() + options.limits.timeout;
  bool is_late = false;
  Status status;
  {
    MutexLock lock(instance->mutex_);
    while (instance->phase_ == Phase::kStarting && !is_late) {
      is_late = !instance->changed_.wait_until(instance->mutex_, deadline);
    }
    is_late = instance->phase_ == Phase::kStarting;
    status = instance->start_status_;
  }
  if (is_late) {
    instance->abandon();
    return make_error(StatusCode::kDeadlineExceeded,
                      "the constructor of class " + options.class_name + " in " + path +
                          " has not returned in " + seconds(options.limits.timeout) +
                          "; it must not wait for what may be away");
  }
  KVFERRY_RETURN_IF_ERROR(status);
  return instance;
}

Status PluginInstance::load_and_create(const std::string& path, const std::string& class_name) {
  KVFERRY_ASSIGN_OR_RETURN(class_, load_plugin_class(path, class_name));
  std::array<char, 1024> error{};
  const auto failed = [&](const std::string& why) {
    return Status(StatusCode::kFailedPrecondition, "the constructor of class " +
                                                       std::string(class_.table.name) + " in " +
                                                       path + " failed: " + why);
  };
  try {
    plugin_ = class_.table.create(&host_, services_.name().c_str(), error.data(), error.size());
  } catch (const std::exception& thrown) {
    return failed(std::string("it threw ") + thrown.what());
  } catch (...) {
    return failed("it threw an exception");
  }
  error.back() = '\0';
  if (plugin_ == nullptr) return failed(error[0] != '\0' ? error.data() : "no reason given");
  return Status();
}

// ---- the thread

void PluginInstance::run(const std::string& path, const std::string& class_name) {
  Status status = load_and_create(path, class_name);
  bool is_wanted = false;
  {
    MutexLock lock(mutex_);
    is_wanted = phase_ == Phase::kStarting && status.is_ok();
    start_status_ = status;
    if (phase_ == Phase::kStarting) phase_ = status.is_ok() ? Phase::kRunning : Phase::kClosed;
    changed_.notify_all();
  }
  if (!status.is_ok()) return;
  if (!is_wanted) {  // it came too late, and was asked for nothing
    try {
      class_.table.destroy(plugin_);
    } catch (...) {  // NOLINT(bugprone-empty-catch): nobody is left to hear of it
    }
    return;
  }
  services_.log(LogLevel::kInfo, "external_backend_loaded backend=" + services_.name() +
                                     " library=" + class_.library_path + " class=" +
                                     class_.table.name + " version=" + class_.plugin_version);
  while (true) {
    const Work work = next_work();
    if (work.kind == WorkKind::kExit) return;
    if (work.kind == WorkKind::kDestroy) {
      destroy_and_end();
      return;
    }
    do_work(work);
  }
}

PluginInstance::Work PluginInstance::next_work() {
  bool was_stuck = false;
  Work work;
  {
    MutexLock lock(mutex_);
    is_in_call_ = false;
    was_stuck = std::exchange(is_stuck_, false);
  }
  if (was_stuck) publish();
  MutexLock lock(mutex_);
  while (!pick_work(work)) changed_.wait(mutex_);
  is_in_call_ = true;
  call_started_ = services_.now();
  return work;
}

bool PluginInstance::pick_work(Work& work) {
  // Once left behind it ends only if it holds nothing. Otherwise this thread waits for good, and
  // keeps all that the plugin may touch; whom that memory came from may be gone.
  const bool is_left_behind = phase_ == Phase::kAbandoned;
  const bool may_end = !is_left_behind || items_.quarantined().items == 0;
  if (is_closed_by_plugin_ && may_end) {
    for (const auto& [number, task] : timed_tasks_) tasks_.push_back(task);
    timed_tasks_.clear();
    if (pick_task(work)) return true;
    work.kind = WorkKind::kDestroy;
    return true;
  }
  if (close_item_ == 0 && may_end && (phase_ == Phase::kClosing || is_left_behind)) {
    close_item_ = kCloseItem;
    work.kind = WorkKind::kClose;
    work.item = close_item_;
    return true;
  }
  if (!cancels_.empty()) {
    work.kind = WorkKind::kCancel;
    work.item = cancels_.front();
    cancels_.pop_front();
    return true;
  }
  const bool can_give = phase_ == Phase::kRunning && items_.can_take();
  if (can_give && (items_are_next_ || tasks_.empty())) {
    work.kind = WorkKind::kItems;
    work.items = items_.take(++call_number_);
    items_are_next_ = false;
    return true;
  }
  return pick_task(work);
}

bool PluginInstance::pick_task(Work& work) {
  if (tasks_.empty()) return false;
  work.kind = WorkKind::kTask;
  work.task = tasks_.front();
  tasks_.pop_front();
  items_are_next_ = true;
  return true;
}

void PluginInstance::do_work(const Work& work) {
  if (work.kind == WorkKind::kItems) {
    give_items(work.items);
    return;
  }
  try {
    if (work.kind == WorkKind::kTask) work.task.task(work.task.argument);
    if (work.kind == WorkKind::kClose) class_.table.close(plugin_, work.item);
    if (work.kind == WorkKind::kCancel) class_.table.cancel(plugin_, work.item);
  } catch (...) {
    count_violation("threw an exception out of close, cancel or a posted task");
  }
}

void PluginInstance::give_items(std::vector<OpenItems::Ptr> items) {
  std::vector<OpenItems::Ptr> given;
  for (OpenItems::Ptr& item : items) {
    item->key_text = item->key.to_string();  // here, not where others wait for the lock
    Status status;
    if (item->group->kind == PluginCall::kPut) status = encode_put_header(*item);
    if (status.is_ok()) {
      given.push_back(std::move(item));
      continue;
    }
    OpenItems::Ptr removed;
    bool is_waited_for = false;
    {
      MutexLock lock(mutex_);
      removed = items_.remove_given(item->id);
      is_waited_for = removed && removed->state == OpenItem::State::kGiven;
    }
    if (is_waited_for) end_all({removed}, status);
  }
  if (given.empty()) return;
  const Status status = call_plugin(class_.table, plugin_, given);
  if (status.is_ok()) return;

  // It may still work on them elsewhere: they end, but their memory stays.
  count_violation(std::string(plugin_call_name(given.front()->group->kind)) + " " +
                  std::string(status.message()));
  std::vector<OpenItems::Ptr> cut_off;
  {
    MutexLock lock(mutex_);
    for (const OpenItems::Ptr& item : given) {
      if (!items_.quarantine(item->id)) continue;
      cut_off.push_back(item);
      breaker_.failed(services_.now());
    }
  }
  publish();
  end_all(cut_off, status);
}

void PluginInstance::destroy_and_end() {
  try {
    class_.table.destroy(plugin_);
  } catch (...) {
    count_violation("threw an exception out of destroy");
  }
  std::vector<OpenItems::Ptr> waited_for;
  std::vector<OpenItems::Ptr> released;
  std::function<void()> on_closed;
  {
    MutexLock lock(mutex_);
    if (phase_ == Phase::kAbandoned) return;
    phase_ = Phase::kClosed;
    waited_for = items_.quarantine_given();
    released = items_.release_quarantine();
    on_closed = std::exchange(on_closed_, nullptr);
  }
  for (size_t i = 0; i < waited_for.size(); ++i) {
    count_violation("closed with an open item");
  }
  publish();
  for (const OpenItems::Ptr& item : released) item->obj.reset();
  end_all(waited_for, Status(StatusCode::kCancelled, "the plugin closed without an answer"));
  services_.close();
  if (on_closed) on_closed();
}

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
    return Status(StatusCode::kUnavailable,
                  "the plugin has not returned from a call for " + seconds(limits_.timeout));
  }
  if (!breaker_.let_pass(now)) {
    return Status(StatusCode::kUnavailable,
                  "the plugin failed " + std::to_string(limits_.breaker_failures) +
                      " times in a row and is left alone for " + seconds(limits_.breaker_cooldown));
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

// ---- deadlines

void PluginInstance::arm_timer() {
  const TimePoint next = std::min(items_.next_deadline(), close_deadline_);
  if (next >= armed_for_) return;
  armed_for_ = next;
  services_.post_at(next, [weak = weak_from_this(), next] {
    if (const auto instance = weak.lock()) instance->on_timer(next);
  });
}

void PluginInstance::on_timer(TimePoint when) {
  std::vector<OpenItems::Ptr> expired;
  size_t num_late = 0;
  bool is_close_late = false;
  {
    MutexLock lock(mutex_);
    // An earlier deadline came after this one, and its timer set the next.
    if (when != armed_for_) return;
    if (phase_ == Phase::kClosed || phase_ == Phase::kAbandoned) return;
    armed_for_ = TimePoint::max();
    const TimePoint now = services_.now();
    expired = items_.expire(now);
    for (const OpenItems::Ptr& item : expired) {
      if (item->state == OpenItem::State::kQuarantined && class_.table.cancel != nullptr) {
        cancels_.push_back(item->id);
      }
      if (item->group->is_short_deadline) continue;
      ++num_late;
      breaker_.failed(now);
      const bool is_of_call =
          item->state == OpenItem::State::kQuarantined && item->call_number == call_number_;
      if (is_in_call_ && (is_of_call || now - call_started_ >= limits_.timeout)) is_stuck_ = true;
    }
    is_close_late = phase_ == Phase::kClosing && now >= close_deadline_;
    arm_timer();
    changed_.notify_all();
  }
  if (num_late > 0) services_.add("external_timeouts", num_late);
  if (!expired.empty()) publish();
  for (const OpenItems::Ptr& item : expired) {
    if (item->state == OpenItem::State::kQueued) item->obj.reset();
  }
  end_all(expired, Status(StatusCode::kDeadlineExceeded, "no answer by the deadline"));
  if (is_close_late) abandon();
}

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
  {
    MutexLock lock(mutex_);
    quarantined = items_.quarantined();
    is_stuck = is_stuck_;
    is_open = breaker_.is_open();
    has_opened = is_open && !was_breaker_open_;
    was_breaker_open_ = is_open;
  }
  if (has_opened) {
    services_.add("external_breaker_opened", 1);
    services_.log(LogLevel::kWarn, "external_breaker_opened backend=" + services_.name() +
                                       " failures=" + std::to_string(limits_.breaker_failures));
  }
  services_.set("external_quarantined_items", static_cast<double>(quarantined.items));
  services_.set("external_quarantined_bytes", static_cast<double>(quarantined.bytes));
  services_.set("external_stuck", is_stuck ? 1 : 0);
  services_.set("external_breaker_is_open", is_open ? 1 : 0);
}

// ---- what the plugin calls

kvferry_outcome PluginInstance::allocate(kvferry_item id, size_t header_bytes, size_t payload_bytes,
                                         void** header, void** payload) {
  const ContextGate::Entry entry(services_.gate());
  if (!entry) return KVFERRY_CANCELLED;
  const auto refuse = [this](const char* what) {
    count_violation(what);
    return KVFERRY_FAILED_PRECONDITION;
  };
  OpenItems::Ptr item;
  {
    MutexLock lock(mutex_);
    item = items_.find_given(id);
    if (item && item->state == OpenItem::State::kQuarantined) return KVFERRY_CANCELLED;
  }
  if (!item) return refuse("asks for memory for an item that it does not have");
  if (item->group->kind != PluginCall::kGet)
    return refuse("asks for memory for another than a get");
  if (header_bytes == 0 || header_bytes > kMaxChunkRecordHeaderBytes || payload_bytes == 0) {
    count_violation("asks for memory of an impossible size");
    return KVFERRY_INVALID_ARGUMENT;
  }
  auto obj = services_.allocate(payload_bytes);
  if (!obj) return static_cast<kvferry_outcome>(obj.error().code());

  MutexLock lock(mutex_);
  if (items_.find_given(id) != item || item->state == OpenItem::State::kQuarantined) {
    return KVFERRY_CANCELLED;
  }
  if (item->obj) return KVFERRY_FAILED_PRECONDITION;
  if (!items_.charge(*item, payload_bytes).is_ok()) return KVFERRY_RESOURCE_EXHAUSTED;
  item->header.resize(header_bytes);
  item->obj = *std::move(obj);
  *header = item->header.data();
  *payload = item->obj->bytes().data();
  return KVFERRY_OK;
}

void PluginInstance::complete(kvferry_item id, kvferry_outcome outcome, const char* message) {
  if (id == kCloseItem) {
    MutexLock lock(mutex_);
    if (close_item_ == kCloseItem) is_closed_by_plugin_ = true;
    changed_.notify_all();
    return;
  }
  const ContextGate::Entry entry(services_.gate());
  if (!entry) return;  // left behind; its memory's owner may be gone
  OpenItems::Ptr item;
  {
    MutexLock lock(mutex_);
    item = items_.remove_given(id);
    // Waited for by what had no credit, and by the end.
    if (phase_ != Phase::kRunning || items_.can_take()) changed_.notify_all();
  }
  if (!item) {
    count_violation("answers an item that it does not have");
    return;
  }
  if (item->state == OpenItem::State::kQuarantined) {
    item->obj.reset();
    services_.add("external_late_answers", 1);
    publish();
    return;
  }
  JudgedAnswer answer = judge_answer(*item, outcome, message);
  item->obj.reset();
  if (answer.is_fault) count_violation(std::string(answer.outcome.status.message()));
  bool is_breaker_changed = false;
  {
    MutexLock lock(mutex_);
    const bool was_open = breaker_.is_open();
    if (counts_as_failure(answer.outcome.status)) {
      breaker_.failed(services_.now());
    } else {
      breaker_.succeeded();
    }
    is_breaker_changed = was_open != breaker_.is_open();
  }
  if (is_breaker_changed) publish();
  if (!answer.outcome.status.is_ok()) answer.outcome.status = named(*item, answer.outcome.status);
  end_item(*item, std::move(answer.outcome));
}

kvferry_outcome PluginInstance::post(void (*task)(void*), void* argument) {
  if (task == nullptr) return KVFERRY_INVALID_ARGUMENT;
  MutexLock lock(mutex_);
  if (is_closed_by_plugin_) return KVFERRY_CANCELLED;
  if (tasks_.size() + timed_tasks_.size() >= limits_.max_posted_tasks) {
    return KVFERRY_RESOURCE_EXHAUSTED;
  }
  tasks_.push_back({task, argument});
  changed_.notify_all();
  return KVFERRY_OK;
}

kvferry_outcome PluginInstance::post_at(TimePoint when, void (*task)(void*), void* argument) {
  if (task == nullptr) return KVFERRY_INVALID_ARGUMENT;
  MutexLock lock(mutex_);
  if (is_closed_by_plugin_) return KVFERRY_CANCELLED;
  if (tasks_.size() + timed_tasks_.size() >= limits_.max_posted_tasks) {
    return KVFERRY_RESOURCE_EXHAUSTED;
  }
  const uint64_t number = next_timed_task_++;
  const bool is_posted = services_.post_at(when, [weak = weak_from_this(), number] {
    if (const auto instance = weak.lock()) instance->run_timed_task(number);
  });
  if (!is_posted) return KVFERRY_CANCELLED;
  timed_tasks_[number] = {task, argument};
  return KVFERRY_OK;
}

void PluginInstance::run_timed_task(uint64_t number) {
  MutexLock lock(mutex_);
  const auto found = timed_tasks_.find(number);
  if (found == timed_tasks_.end()) return;
  tasks_.push_back(found->second);
  timed_tasks_.erase(found);
  changed_.notify_all();
}

}  // namespace kvferry
