#include "backends/external/plugin_instance.h"

#include "backends/external/plugin_calls.h"

namespace kvferry {

// What an instance's thread does: it alone calls the plugin.

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
    call_kind_.reset();
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
    tasks_.make_all_due();
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
  if (can_give && (items_are_next_ || !tasks_.has_due())) {
    work.kind = WorkKind::kItems;
    work.items = items_.take(++call_number_);
    call_kind_ = work.items.front()->group->kind;
    items_are_next_ = false;
    return true;
  }
  return pick_task(work);
}

bool PluginInstance::pick_task(Work& work) {
  const std::optional<PostedTask> task = tasks_.take();
  if (!task.has_value()) return false;
  work.kind = WorkKind::kTask;
  work.task = *task;
  items_are_next_ = true;
  return true;
}

void PluginInstance::do_work(const Work& work) {
  if (work.kind == WorkKind::kItems) {
    give_items(work.items);
    return;
  }
  try {
    if (work.kind == WorkKind::kTask) work.task.run(work.task.argument);
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

}  // namespace kvferry
