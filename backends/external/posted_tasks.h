#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>

namespace kvferry {

/// A function of the plugin's, to be called once on its instance's thread.
struct PostedTask {
  void (*run)(void*) = nullptr;
  void* argument = nullptr;
};

/// What a plugin has posted and what has not run yet: due, or waiting for its time.
///
/// Threads: caller serialises
class PostedTasks {
 public:
  explicit PostedTasks(size_t max_tasks) : max_tasks_(max_tasks) {}

  bool is_full() const { return due_.size() + waiting_.size() >= max_tasks_; }
  bool has_due() const { return !due_.empty(); }

  void add(PostedTask task) { due_.push_back(task); }
  /// The number to make it due by.
  uint64_t add_waiting(PostedTask task) {
    waiting_.emplace(next_number_, task);
    return next_number_++;
  }
  void remove_waiting(uint64_t number) { waiting_.erase(number); }

  void make_due(uint64_t number) {
    const auto found = waiting_.find(number);
    if (found == waiting_.end()) return;
    due_.push_back(found->second);
    waiting_.erase(found);
  }
  void make_all_due() {
    for (const auto& [number, task] : std::exchange(waiting_, {})) due_.push_back(task);
  }

  std::optional<PostedTask> take() {
    if (due_.empty()) return std::nullopt;
    const PostedTask task = due_.front();
    due_.pop_front();
    return task;
  }

 private:
  const size_t max_tasks_;
  uint64_t next_number_ = 0;
  std::deque<PostedTask> due_;
  std::map<uint64_t, PostedTask> waiting_;
};

}  // namespace kvferry
