#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "backends/external/factory.h"
#include "core/priority_turns.h"
#include "kvferry/plugin_abi.h"

namespace kvferry {

enum class PluginCall : uint8_t { kContains, kPut, kGet, kRemove, kPin };

/// How an item ended, for whoever asked.
struct ItemOutcome {
  Status status;
  bool is_yes = false;  ///< held, removed, done; of an OK
  MemoryObjPtr obj;     ///< of a get
};

/// What the items of one submit_ call have in common.
struct ItemGroup {
  PluginCall kind = PluginCall::kContains;
  TimePoint deadline;
  bool is_short_deadline = false;  ///< shorter than the plugin's own limit: missing it is no fault
  GetIntent intent = GetIntent::kForeground;
  bool force = false;
  PinOwner pin_owner = 0;
  PinOp pin_op = PinOp::kPin;
  std::string peer;
  std::function<void(size_t item, ItemOutcome outcome)> done;
};

/// One item, with all the memory that the plugin may touch because of it.
struct OpenItem {
  enum class State : uint8_t {
    kQueued,
    kGiven,
    kQuarantined,  ///< given; ended for whoever asked
  };

  kvferry_item id = 0;
  std::shared_ptr<const ItemGroup> group;
  size_t index = 0;
  State state = State::kQueued;
  CacheEngineKey key;
  std::string key_text;  ///< while it is given
  std::vector<std::byte> header;
  MemoryObjPtr obj;               ///< of a put; of a get since the plugin asked for memory
  uint64_t call_number = 0;       ///< which call to the plugin it was given in
  size_t held_bytes = 0;          ///< of obj, as counted against the limits
  bool is_superseded = false;     ///< a put: another of its key has ended well since
  bool follows_late_put = false;  ///< a put: one of its key, said to have failed, has come to be
};

/// Ends one item for whoever asked.
inline void end_item(const OpenItem& item, ItemOutcome outcome) {
  item.group->done(item.index, std::move(outcome));
}

struct ItemCounts {
  size_t items = 0;
  size_t bytes = 0;
};

/// Every item that waits for the plugin or is in its hands, by number; the credits that let it have
/// more; the quarantine.
///
/// What a request waits for (contains, foreground gets, pins) goes to the plugin before prefetches,
/// those before puts and removes, which keep their order; none starves (PriorityTurns).
///
/// Threads: caller serialises
class OpenItems {
 public:
  using Ptr = std::shared_ptr<OpenItem>;

  explicit OpenItems(const PluginLimits& limits) : limits_(limits) {}

  /// Queues an item. `obj` may be null.
  /// Errors: kResourceExhausted when the queue is full; kUnavailable when the quarantine is.
  Status add(std::shared_ptr<const ItemGroup> group, size_t index, const CacheEngineKey& key,
             MemoryObjPtr obj);

  /// The next items of one group, as many as credits allow; given from now on.
  std::vector<Ptr> take(uint64_t call_number);
  bool can_take();

  /// The item, if the plugin has it; it stays.
  Ptr find_given(kvferry_item id) const;
  /// Whether the plugin has it, or had it.
  bool was_given(kvferry_item id) const;
  /// Counts memory that a given item now holds.
  /// Errors: kResourceExhausted beyond the credits.
  Status charge(OpenItem& item, size_t bytes);

  /// To quarantine with a given item. Null if it is not one that somebody waits for.
  Ptr quarantine(kvferry_item id);

  /// Takes a given or quarantined item out; null if there is none of that number.
  Ptr remove_given(kvferry_item id);

  /// A put that was given has ended. True: its chunk must be taken out again, as its put, or the
  /// one that came to be before it, was said to have failed.
  bool is_unwanted(const OpenItem& put, bool is_good);

  /// Those whose deadline has passed: queued ones are out, given ones are quarantined.
  std::vector<Ptr> expire(TimePoint now);
  /// Takes out all that the plugin never got.
  std::vector<Ptr> remove_queued();
  /// All that the plugin has go to quarantine; those that somebody waits for.
  std::vector<Ptr> quarantine_given();
  /// Lets go of the quarantine: the plugin has said that it touches none of it.
  std::vector<Ptr> release_quarantine();

  /// TimePoint::max(): none.
  TimePoint next_deadline() const;
  const ItemCounts& in_flight() const { return in_flight_; }
  const ItemCounts& quarantined() const { return quarantined_; }
  bool is_quarantine_full() const;

 private:
  /// The queue whose turn it is, if credits allow its first item.
  std::optional<size_t> next_queue();
  void move(OpenItem& item, ItemCounts& from, ItemCounts& to);
  bool has_credit(size_t bytes) const;
  void quarantine_item(OpenItem& item);

  const PluginLimits limits_;
  kvferry_item next_id_ = 1;
  std::unordered_map<kvferry_item, Ptr> items_;
  // By priority; some may have expired: not in items_ any more.
  std::array<std::deque<kvferry_item>, kNumPriorities> queues_;
  PriorityTurns::Waiting waiting_{};  // of queues_, as next_queue() last found them
  PriorityTurns turns_;
  std::set<std::pair<TimePoint, kvferry_item>> deadlines_;
  ItemCounts queued_;
  ItemCounts in_flight_;
  ItemCounts quarantined_;
};

}  // namespace kvferry
