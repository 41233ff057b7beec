#include "backends/external/plugin_instance.h"

#include <utility>
namespace kvferry {

// What happens when time has passed.

void PluginInstance::arm_timer() {
  const TimePoint next = std::min(items_.next_deadline(), close_deadline_);
  if (next >= armed_for_) return;
  armed_for_ = next;
  services_.post_at(next, [weak = weak_from_this(), next] {
    if (const auto instance = weak.lock()) instance->on_timer(next);
  });
}

Status PluginInstance::lateness_of(const OpenItem& item, bool is_stuck) const {
  std::string what;
  if (item.state == OpenItem::State::kQueued) {
    what = "it waited for the plugin's thread, which was busy, until its deadline";
  } else if (is_stuck) {
    what = "the plugin has not returned from the call by the deadline";
  } else {
    what = "the plugin has returned from the call, but not completed the item by its deadline";
  }
  return Status(StatusCode::kDeadlineExceeded, std::move(what));
}

void PluginInstance::note_late(const std::vector<OpenItems::Ptr>& expired, TimePoint now) {
  for (const OpenItems::Ptr& item : expired) {
    const bool is_given = item->state == OpenItem::State::kQuarantined;
    if (is_given && class_.table.cancel != nullptr) cancels_.push_back(item->id);
    if (item->group->is_short_deadline) continue;
    breaker_.failed(now);
    const bool is_of_call = is_given && item->call_number == call_number_;
    if (is_in_call_ && (is_of_call || now - call_started_ >= limits_.timeout)) is_stuck_ = true;
    last_failure_ = lateness_of(*item, is_stuck_).to_string();
  }
}

void PluginInstance::on_timer(TimePoint when) {
  std::vector<OpenItems::Ptr> expired;
  bool is_stuck = false;
  bool is_close_late = false;
  {
    MutexLock lock(mutex_);
    // An earlier deadline came after this one, and its timer set the next.
    if (when != armed_for_) return;
    if (phase_ == Phase::kClosed || phase_ == Phase::kAbandoned) return;
    armed_for_ = TimePoint::max();
    const TimePoint now = services_.now();
    expired = items_.expire(now);
    note_late(expired, now);
    is_stuck = is_stuck_;
    is_close_late = phase_ == Phase::kClosing && now >= close_deadline_;
    arm_timer();
    changed_.notify_all();
  }
  size_t num_late = 0;
  for (const OpenItems::Ptr& item : expired) {
    if (!item->group->is_short_deadline) ++num_late;
    if (item->state == OpenItem::State::kQueued) item->obj.reset();
  }
  if (num_late > 0) services_.add("external_timeouts", num_late);
  if (!expired.empty()) publish();
  for (const OpenItems::Ptr& item : expired) end_all({item}, lateness_of(*item, is_stuck));
  if (is_close_late) abandon();
}

}  // namespace kvferry
