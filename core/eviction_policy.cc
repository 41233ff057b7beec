#include "core/eviction_policy.h"

#include <algorithm>
#include <deque>
#include <unordered_map>

namespace kvferry {
namespace {

/// Doubly linked, through the hooks; newest in front.
class HookList {
 public:
  void push_front(EvictionHook& hook) {
    hook.previous = nullptr;
    hook.next = front_;
    (front_ != nullptr ? front_->previous : back_) = &hook;
    front_ = &hook;
    ++size_;
  }

  void erase(EvictionHook& hook) {
    (hook.previous != nullptr ? hook.previous->next : front_) = hook.next;
    (hook.next != nullptr ? hook.next->previous : back_) = hook.previous;
    hook.previous = nullptr;
    hook.next = nullptr;
    --size_;
  }

  void move_to_front(EvictionHook& hook) {
    if (&hook == front_) return;
    erase(hook);
    push_front(hook);
  }

  EvictionHook* back() const { return back_; }
  size_t size() const { return size_; }

 private:
  EvictionHook* front_ = nullptr;
  EvictionHook* back_ = nullptr;
  size_t size_ = 0;
};

/// One queue; LRU moves what is touched to its front, FIFO does not.
class OneQueue final : public EvictionPolicy {
 public:
  explicit OneQueue(bool touch_moves) : touch_moves_(touch_moves) {}

  void insert(EvictionHook& hook) override { queue_.push_front(hook); }
  void touch(EvictionHook& hook) override {
    if (touch_moves_) queue_.move_to_front(hook);
  }
  void erase(EvictionHook& hook) override { queue_.erase(hook); }
  EvictionHook* victim() override { return queue_.back(); }
  void pass_over(EvictionHook& hook) override { queue_.move_to_front(hook); }
  void evict(EvictionHook& hook) override { queue_.erase(hook); }

 private:
  const bool touch_moves_;
  HookList queue_;
};

/// The last evicted of the small queue, by the hash of their keys. A double hash costs an early
/// promotion, nothing else.
class Ghosts {
 public:
  explicit Ghosts(size_t capacity) : capacity_(std::max<size_t>(capacity, 1)) {}

  void add(uint64_t key) {
    order_.push_back(key);
    ++counts_[key];
    if (order_.size() <= capacity_) return;
    drop_one(order_.front());
    order_.pop_front();
  }
  bool contains(uint64_t key) const { return counts_.contains(key); }

 private:
  void drop_one(uint64_t key) {
    const auto count = counts_.find(key);
    if (--count->second == 0) counts_.erase(count);
  }

  const size_t capacity_;
  std::deque<uint64_t> order_;
  std::unordered_map<uint64_t, size_t> counts_;
};

/// A small queue for what is new, a main one for what was used again.
class S3Fifo final : public EvictionPolicy {
 public:
  explicit S3Fifo(size_t capacity) : ghosts_(capacity) {}

  void insert(EvictionHook& hook) override {
    hook.visits = 0;
    push(hook, ghosts_.contains(hook.ghost_key) ? kMain : kSmall);
  }

  void touch(EvictionHook& hook) override {
    hook.visits = static_cast<uint8_t>(std::min<int>(hook.visits + 1, kMaxVisits));
  }

  void erase(EvictionHook& hook) override { queue(hook).erase(hook); }

  EvictionHook* victim() override {
    for (;;) {
      // A tenth of all is the small queue's share.
      const bool from_small =
          small_.size() > 0 && (main_.size() == 0 || small_.size() * 9 >= main_.size());
      EvictionHook* hook = from_small ? small_.back() : main_.back();
      if (hook == nullptr) return nullptr;
      if (from_small && hook->visits > 1) {
        hook->visits = 0;
        move(*hook, kMain);
      } else if (!from_small && hook->visits > 0) {
        --hook->visits;
        main_.move_to_front(*hook);
      } else {
        return hook;
      }
    }
  }

  /// What is pinned or in use is used again.
  void pass_over(EvictionHook& hook) override { move(hook, kMain); }

  void evict(EvictionHook& hook) override {
    if (hook.queue == kSmall) ghosts_.add(hook.ghost_key);
    erase(hook);
  }

 private:
  static constexpr uint8_t kSmall = 0;
  static constexpr uint8_t kMain = 1;
  static constexpr int kMaxVisits = 3;

  HookList& queue(const EvictionHook& hook) { return hook.queue == kSmall ? small_ : main_; }
  void push(EvictionHook& hook, uint8_t to) {
    hook.queue = to;
    queue(hook).push_front(hook);
  }
  void move(EvictionHook& hook, uint8_t to) {
    queue(hook).erase(hook);
    push(hook, to);
  }

  HookList small_;
  HookList main_;
  Ghosts ghosts_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_eviction_policy(CachePolicy policy, size_t capacity) {
  switch (policy) {
    case CachePolicy::kLru:
      return std::make_unique<OneQueue>(true);
    case CachePolicy::kFifo:
      return std::make_unique<OneQueue>(false);
    case CachePolicy::kS3Fifo:
      return std::make_unique<S3Fifo>(capacity);
  }
  return nullptr;
}

}  // namespace kvferry
