#include "backends/external/open_items.h"

namespace kvferry {
namespace {

// Of one call: enough to spare a plugin round trips, few enough to answer before deadlines.
constexpr size_t kMaxItemsPerCall = 64;

size_t priority_of(const ItemGroup& group) {
  switch (group.kind) {
    case PluginCall::kContains:
    case PluginCall::kPin:
      return 0;
    case PluginCall::kGet:
      return group.intent == GetIntent::kPrefetch ? 1 : 0;
    case PluginCall::kPut:
    case PluginCall::kRemove:
      return 2;
  }
  return 0;
}

}  // namespace

Status OpenItems::add(std::shared_ptr<const ItemGroup> group, size_t index,
                      const CacheEngineKey& key, MemoryObjPtr obj) {
  if (is_quarantine_full()) {
    return Status(StatusCode::kUnavailable,
                  "the plugin holds " + std::to_string(quarantined_.items) + " items and " +
                      std::to_string(quarantined_.bytes) +
                      " bytes past their deadline and gets nothing new until it answers");
  }
  const size_t bytes = obj ? obj->bytes().size() : 0;
  const bool is_full = queued_.items >= limits_.max_queued_items ||
                       (bytes > 0 && queued_.bytes + bytes > limits_.max_queued_bytes);
  if (is_full) {
    return Status(StatusCode::kResourceExhausted, std::to_string(queued_.items) + " items and " +
                                                      std::to_string(queued_.bytes) +
                                                      " bytes wait for the plugin already");
  }
  auto item = std::make_shared<OpenItem>();
  item->id = next_id_++;
  item->group = std::move(group);
  item->index = index;
  item->key = key;
  item->obj = std::move(obj);
  item->held_bytes = bytes;
  ++queued_.items;
  queued_.bytes += bytes;
  queues_.at(priority_of(*item->group)).push_back(item->id);
  deadlines_.emplace(item->group->deadline, item->id);
  items_.emplace(item->id, std::move(item));
  return Status();
}

void OpenItems::move(OpenItem& item, ItemCounts& from, ItemCounts& to) {
  --from.items;
  from.bytes -= item.held_bytes;
  ++to.items;
  to.bytes += item.held_bytes;
}

bool OpenItems::has_credit(size_t bytes) const {
  if (is_quarantine_full()) return false;
  // What is larger than the whole credit goes alone.
  return in_flight_.items < limits_.max_in_flight_items &&
         (in_flight_.bytes == 0 || in_flight_.bytes + bytes <= limits_.max_in_flight_bytes);
}

std::optional<size_t> OpenItems::next_queue() {
  for (size_t i = 0; i < kNumPriorities; ++i) {
    auto& queue = queues_.at(i);
    while (!queue.empty() && items_.find(queue.front()) == items_.end()) queue.pop_front();
    waiting_.at(i) = !queue.empty();
  }
  const std::optional<size_t> next = turns_.next(waiting_);
  if (!next.has_value()) return std::nullopt;
  // Without credit for it nothing else goes before it: it is its turn.
  const size_t bytes = items_.at(queues_.at(*next).front())->held_bytes;
  return has_credit(bytes) ? next : std::nullopt;
}

bool OpenItems::can_take() { return next_queue().has_value(); }

std::vector<OpenItems::Ptr> OpenItems::take(uint64_t call_number) {
  std::vector<Ptr> batch;
  const std::optional<size_t> next = next_queue();
  if (!next.has_value()) return batch;
  turns_.took(*next, waiting_);
  auto& queue = queues_.at(*next);
  while (!queue.empty() && batch.size() < kMaxItemsPerCall) {
    const auto found = items_.find(queue.front());
    if (found == items_.end()) {
      queue.pop_front();
      continue;
    }
    const Ptr& item = found->second;
    const bool is_same = batch.empty() || batch.front()->group == item->group;
    if (!is_same || !has_credit(item->held_bytes)) break;
    item->state = OpenItem::State::kGiven;
    item->call_number = call_number;
    move(*item, queued_, in_flight_);
    batch.push_back(item);
    queue.pop_front();
  }
  return batch;
}

OpenItems::Ptr OpenItems::find_given(kvferry_item id) const {
  const auto found = items_.find(id);
  if (found == items_.end() || found->second->state == OpenItem::State::kQueued) return nullptr;
  return found->second;
}

bool OpenItems::was_given(kvferry_item id) const {
  const auto found = items_.find(id);
  if (found != items_.end()) return found->second->state != OpenItem::State::kQueued;
  return id > 0 && id < next_id_;
}

Status OpenItems::charge(OpenItem& item, size_t bytes) {
  if (in_flight_.bytes > 0 && in_flight_.bytes + bytes > limits_.max_in_flight_bytes) {
    return Status(StatusCode::kResourceExhausted,
                  std::to_string(in_flight_.bytes) + " bytes are in the plugin's hands already");
  }
  item.held_bytes += bytes;
  in_flight_.bytes += bytes;
  return Status();
}

OpenItems::Ptr OpenItems::remove_given(kvferry_item id) {
  Ptr item = find_given(id);
  if (!item) return nullptr;
  ItemCounts& counts = item->state == OpenItem::State::kQuarantined ? quarantined_ : in_flight_;
  --counts.items;
  counts.bytes -= item->held_bytes;
  deadlines_.erase({item->group->deadline, id});
  items_.erase(id);
  return item;
}

bool OpenItems::is_unwanted(const OpenItem& put, bool is_good) {
  const bool is_late = put.state == OpenItem::State::kQuarantined;
  if (quarantined_.items == 0 && !is_late && !put.follows_late_put) return false;  // nearly always
  bool decides = true;
  for (const auto& [id, other] : items_) {
    if (other->group->kind != PluginCall::kPut || other->key != put.key) continue;
    if (is_good && !is_late) {
      other->is_superseded = true;
    } else if (other->state != OpenItem::State::kQuarantined && (is_good || put.follows_late_put)) {
      other->follows_late_put = true;  // it decides
      decides = false;
    }
  }
  const bool is_there = is_good || put.follows_late_put;
  return decides && is_there && (is_late || !is_good) && !put.is_superseded;
}

void OpenItems::quarantine_item(OpenItem& item) {
  item.state = OpenItem::State::kQuarantined;
  move(item, in_flight_, quarantined_);
}

OpenItems::Ptr OpenItems::quarantine(kvferry_item id) {
  const auto found = items_.find(id);
  if (found == items_.end() || found->second->state != OpenItem::State::kGiven) return nullptr;
  deadlines_.erase({found->second->group->deadline, id});
  quarantine_item(*found->second);
  return found->second;
}

std::vector<OpenItems::Ptr> OpenItems::expire(TimePoint now) {
  std::vector<Ptr> expired;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const auto found = items_.find(deadlines_.begin()->second);
    deadlines_.erase(deadlines_.begin());
    const Ptr item = found->second;
    expired.push_back(item);
    if (item->state == OpenItem::State::kGiven) {
      quarantine_item(*item);
    } else {
      --queued_.items;
      queued_.bytes -= item->held_bytes;
      items_.erase(found);
    }
  }
  return expired;
}

std::vector<OpenItems::Ptr> OpenItems::remove_queued() {
  std::vector<Ptr> removed;
  for (auto& queue : queues_) {
    for (const kvferry_item id : queue) {
      const auto found = items_.find(id);
      if (found == items_.end()) continue;
      deadlines_.erase({found->second->group->deadline, id});
      removed.push_back(std::move(found->second));
      items_.erase(found);
    }
    queue.clear();
  }
  queued_ = ItemCounts();
  return removed;
}

std::vector<OpenItems::Ptr> OpenItems::quarantine_given() {
  std::vector<Ptr> waited_for;
  for (auto& [id, item] : items_) {
    if (item->state != OpenItem::State::kGiven) continue;
    deadlines_.erase({item->group->deadline, id});
    quarantine_item(*item);
    waited_for.push_back(item);
  }
  return waited_for;
}

std::vector<OpenItems::Ptr> OpenItems::release_quarantine() {
  std::vector<Ptr> released;
  for (auto each = items_.begin(); each != items_.end();) {
    if (each->second->state == OpenItem::State::kQuarantined) {
      released.push_back(std::move(each->second));
      each = items_.erase(each);
    } else {
      ++each;
    }
  }
  quarantined_ = ItemCounts();
  return released;
}

TimePoint OpenItems::next_deadline() const {
  return deadlines_.empty() ? TimePoint::max() : deadlines_.begin()->first;
}

bool OpenItems::is_quarantine_full() const {
  return quarantined_.items >= limits_.max_quarantined_items ||
         quarantined_.bytes >= limits_.max_quarantined_bytes;
}

}  // namespace kvferry
