#include "backends/remote/bounded_tasks.h"

#include <utility>

namespace kvferry {

bool BoundedTasks::submit(Task task) {
  {
    MutexLock lock(state_->mutex);
    if (state_->is_closed) return false;
    if (state_->num_running >= state_->max_running) {
      if (state_->waiting.size() >= state_->max_waiting) return false;
      state_->waiting.push_back(std::move(task));
      return true;
    }
    ++state_->num_running;
  }
  start(state_, std::move(task));
  return true;
}

void BoundedTasks::start(const std::shared_ptr<State>& state, Task task) {
  state->pool.submit([state, task = std::move(task)]() mutable {
    task(true);
    task = nullptr;  // what it holds goes before the end is told
    end_one(state);
  });
}

void BoundedTasks::end_one(const std::shared_ptr<State>& state) {
  Task next;
  std::function<void()> on_idle;
  {
    MutexLock lock(state->mutex);
    if (!state->waiting.empty()) {
      next = std::move(state->waiting.front());
      state->waiting.pop_front();
    } else if (--state->num_running == 0) {
      on_idle = std::exchange(state->on_idle, nullptr);
    }
  }
  if (next) start(state, std::move(next));
  if (on_idle) on_idle();
}

void BoundedTasks::close(std::function<void()> on_idle) {
  std::deque<Task> dropped;
  {
    MutexLock lock(state_->mutex);
    state_->is_closed = true;
    dropped.swap(state_->waiting);
  }
  for (Task& task : dropped) task(false);
  dropped.clear();
  {
    MutexLock lock(state_->mutex);
    if (state_->num_running > 0) {
      state_->on_idle = std::move(on_idle);
      return;
    }
  }
  on_idle();
}

}  // namespace kvferry
