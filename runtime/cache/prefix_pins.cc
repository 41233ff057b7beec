#include "runtime/cache/prefix_pins.h"

#include <algorithm>

namespace kvferry {

size_t PrefixPins::pin(const std::shared_ptr<Sink>& sink, std::vector<CacheEngineKey> keys,
                       TimePoint deadline) {
  StorageBackend& backend = sink->backend();
  if (!backend.traits().pins) return keys.size();
  struct Answers {
    Mutex mutex;
    CondVar ended;
    std::vector<bool> pinned KVFERRY_GUARDED_BY(mutex);
    size_t missing KVFERRY_GUARDED_BY(mutex) = 0;
    bool is_late KVFERRY_GUARDED_BY(mutex) = false;
  };
  auto answers = std::make_shared<Answers>();
  {
    MutexLock lock(answers->mutex);
    answers->pinned.resize(keys.size());
    answers->missing = keys.size();
  }
  auto named = std::make_shared<std::vector<CacheEngineKey>>(std::move(keys));
  backend.submit_pin(*named, owner_, PinOp::kPin,
                     [answers, named, weak = std::weak_ptr<Sink>(sink), owner = owner_](
                         size_t item, const Result<bool>& is_pinned) {
                       const bool pinned = is_pinned.has_value() && *is_pinned;
                       bool is_late = false;
                       {
                         MutexLock lock(answers->mutex);
                         is_late = answers->is_late;
                         if (!is_late) answers->pinned[item] = pinned;
                         if (--answers->missing == 0) answers->ended.notify_all();
                       }
                       const std::shared_ptr<Sink> alive = weak.lock();
                       if (!is_late || !pinned || !alive) return;
                       // Nobody waits for it any more, so nobody would unpin it.
                       alive->backend().submit_pin({&(*named)[item], 1}, owner, PinOp::kUnpin,
                                                   [](size_t, const Result<bool>&) {});
                     });
  std::vector<bool> pinned;
  {
    MutexLock lock(answers->mutex);
    while (answers->missing > 0 && answers->ended.wait_until(answers->mutex, deadline)) {
    }
    answers->is_late = true;
    pinned = answers->pinned;
  }
  std::vector<CacheEngineKey> held;
  for (size_t i = 0; i < pinned.size(); ++i) {
    if (pinned[i]) held.push_back((*named)[i]);
  }
  pinned_.emplace_back(sink, std::move(held));
  return static_cast<size_t>(std::find(pinned.begin(), pinned.end(), false) - pinned.begin());
}

size_t PrefixPins::release() {
  if (released_.exchange(true)) return 0;
  size_t released = 0;
  for (const auto& [weak, keys] : pinned_) {
    if (const std::shared_ptr<Sink> sink = weak.lock()) {
      sink->backend().submit_pin(keys, owner_, PinOp::kUnpin, [](size_t, const Result<bool>&) {});
      released += keys.size();
    }
  }
  return released;
}

void PinTimeouts::add(const std::shared_ptr<PrefixPins>& pins) {
  while (!pins_.empty() && pins_.front().second.expired()) pins_.pop_front();
  pins_.emplace_back(control_.clock().now() + timeout_, pins);
  arm();
}

void PinTimeouts::arm() {
  if (is_armed_ || pins_.empty()) return;
  is_armed_ = true;
  control_.post_at(pins_.front().first, [this] {
    is_armed_ = false;
    const TimePoint now = control_.clock().now();
    while (!pins_.empty() && pins_.front().first <= now) {
      if (const auto old = pins_.front().second.lock()) released_.fetch_add(old->release());
      pins_.pop_front();
    }
    arm();
  });
}

}  // namespace kvferry
