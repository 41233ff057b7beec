#include "backends/external/plugin_instance.h"

#include "backends/external/plugin_calls.h"
#include "kvferry/chunk_record.h"

namespace kvferry {

// What the plugin calls (plugin_host.cc).

std::string PluginInstance::strange_item(kvferry_item id) const {
  std::string text =
      "item " + std::to_string(id) +
      (items_.was_given(id) ? ", which was answered already" : ", which it was never given");
  if (call_kind_.has_value()) {
    text += ", during " + std::string(plugin_call_name(*call_kind_)) + "()";
  }
  return text;
}

kvferry_outcome PluginInstance::allocate(kvferry_item id, size_t header_bytes, size_t payload_bytes,
                                         void** header, void** payload) {
  const ContextGate::Entry entry(services_.gate());
  if (!entry) return KVFERRY_CANCELLED;
  OpenItems::Ptr item;
  std::string strange;
  {
    MutexLock lock(mutex_);
    item = items_.find_given(id);
    if (item && item->state == OpenItem::State::kQuarantined) return KVFERRY_CANCELLED;
    if (!item) strange = strange_item(id);
  }
  if (!item) {
    count_violation("asks for memory for " + strange);
    return KVFERRY_FAILED_PRECONDITION;
  }
  if (item->group->kind != PluginCall::kGet) {
    count_violation("asks for memory for another than a get: a " +
                    std::string(plugin_call_name(item->group->kind)));
    return KVFERRY_FAILED_PRECONDITION;
  }
  if (header_bytes == 0 || header_bytes > kMaxChunkRecordHeaderBytes || payload_bytes == 0) {
    count_violation("asks for memory of an impossible size: header " +
                    std::to_string(header_bytes) + " bytes, payload " +
                    std::to_string(payload_bytes));
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
  std::string strange;
  {
    MutexLock lock(mutex_);
    item = items_.remove_given(id);
    if (!item) strange = strange_item(id);
    if (item && item->group->kind == PluginCall::kPut &&
        items_.is_unwanted(*item, outcome == KVFERRY_OK)) {
      take_out(item->key);
    }
    // Waited for by what had no credit, and by the end.
    if (phase_ != Phase::kRunning || items_.can_take()) changed_.notify_all();
  }
  if (!item) {
    count_violation("answers " + strange);
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
  note_answer(answer.outcome.status);
  if (!answer.outcome.status.is_ok()) answer.outcome.status = named(*item, answer.outcome.status);
  end_item(*item, std::move(answer.outcome));
}

// Whatever the breaker says: it is not a new request.
void PluginInstance::take_out(const CacheEngineKey& key) {
  ItemGroup group;
  group.kind = PluginCall::kRemove;
  group.deadline = services_.now() + limits_.timeout;
  group.done = [](size_t, const ItemOutcome&) {};
  items_.add(std::make_shared<const ItemGroup>(std::move(group)), 0, key, MemoryObjPtr())
      .ignore("a full quarantine gets nothing, this neither");
  arm_timer();
}

void PluginInstance::note_answer(const Status& status) {
  bool is_breaker_changed = false;
  {
    MutexLock lock(mutex_);
    const bool was_open = breaker_.is_open();
    if (counts_as_failure(status)) {
      breaker_.failed(services_.now());
      last_failure_ = status.to_string();
    } else {
      breaker_.succeeded();
    }
    is_breaker_changed = was_open != breaker_.is_open();
  }
  if (is_breaker_changed) publish();
}

kvferry_outcome PluginInstance::post(void (*task)(void*), void* argument) {
  if (task == nullptr) return KVFERRY_INVALID_ARGUMENT;
  MutexLock lock(mutex_);
  if (is_closed_by_plugin_) return KVFERRY_CANCELLED;
  if (tasks_.is_full()) return KVFERRY_RESOURCE_EXHAUSTED;
  tasks_.add({task, argument});
  changed_.notify_all();
  return KVFERRY_OK;
}

kvferry_outcome PluginInstance::post_at(TimePoint when, void (*task)(void*), void* argument) {
  if (task == nullptr) return KVFERRY_INVALID_ARGUMENT;
  MutexLock lock(mutex_);
  if (is_closed_by_plugin_) return KVFERRY_CANCELLED;
  if (tasks_.is_full()) return KVFERRY_RESOURCE_EXHAUSTED;
  const uint64_t number = tasks_.add_waiting({task, argument});
  const bool is_posted = services_.post_at(when, [weak = weak_from_this(), number] {
    if (const auto instance = weak.lock()) instance->run_timed_task(number);
  });
  if (is_posted) return KVFERRY_OK;
  tasks_.remove_waiting(number);
  return KVFERRY_CANCELLED;
}

void PluginInstance::run_timed_task(uint64_t number) {
  MutexLock lock(mutex_);
  tasks_.make_due(number);
  changed_.notify_all();
}

}  // namespace kvferry
