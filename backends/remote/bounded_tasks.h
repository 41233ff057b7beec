#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>

#include "kvferry/backend_context.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// A share of a WorkPool: so many tasks run at once, so many more wait for their turn.
///
/// Threads: any thread, internally locked.
class BoundedTasks {
 public:
  /// Called once, with true on the pool, with false by close() for what had not begun.
  using Task = std::function<void(bool runs)>;

  BoundedTasks(WorkPool& pool, size_t max_running, size_t max_waiting)
      : state_(std::make_shared<State>(pool, max_running, max_waiting)) {}

  /// False when too many wait, or after close(): the task is not taken.
  bool submit(Task task);
  /// Calls `on_idle` when nothing of it runs any more. Once, and last.
  void close(std::function<void()> on_idle);

 private:
  struct State {
    State(WorkPool& work_pool, size_t most_running, size_t most_waiting)
        : pool(work_pool), max_running(most_running), max_waiting(most_waiting) {}

    WorkPool& pool;
    const size_t max_running;
    const size_t max_waiting;
    Mutex mutex;
    size_t num_running KVFERRY_GUARDED_BY(mutex) = 0;
    std::deque<Task> waiting KVFERRY_GUARDED_BY(mutex);
    bool is_closed KVFERRY_GUARDED_BY(mutex) = false;
    std::function<void()> on_idle KVFERRY_GUARDED_BY(mutex);
  };

  static void start(const std::shared_ptr<State>& state, Task task);
  static void end_one(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;  // shared with tasks under way
};

}  // namespace kvferry
