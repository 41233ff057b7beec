#pragma once

#include <atomic>
#include <memory>
#include <queue>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/unique_fd.h"
#include "kvferry/executor.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// An Executor that is one thread. With nothing to do it sleeps in epoll; while a progress source
/// is busy, and a moment longer, it polls the source and looks at descriptors now and then.
///
/// Destruction stops it, and drops timers and what was posted after the stop.
class ThreadExecutor final : public Executor {
 public:
  /// `name` is the thread's name (15 bytes at most are shown by the system).
  /// Errors: kResourceExhausted when the system gives no descriptor or thread.
  static Result<std::unique_ptr<ThreadExecutor>> create(std::string name, const Clock& clock);
  ~ThreadExecutor() override;

  /// Runs what was posted before, and a bounded number of times what that posts, then ends the
  /// thread and waits for that; the rest is dropped. Not from the executor itself. Idempotent.
  void stop();

  void post(Task task) override;
  void post_at(TimePoint when, Task task) override;
  Status watch_fd(int fd, bool want_write, Task on_ready) override;
  void unwatch_fd(int fd) override;
  Status add_progress_source(ProgressSource* source) override;
  void remove_progress_source(ProgressSource* source) override;
  const Clock& clock() const override { return clock_; }
  bool is_current() const override { return std::this_thread::get_id() == thread_id_.load(); }

 private:
  struct Timer {
    TimePoint when;
    uint64_t order;  // keeps timers of equal time in the order they were given
    Task task;
    bool operator<(const Timer& other) const {
      return when != other.when ? when > other.when : order > other.order;
    }
  };

  /// `key` goes with the descriptor's events and differs when its number is used again, so that an
  /// event of a closed descriptor does not reach the next one of that number.
  struct Watch {
    uint64_t key = 0;
    std::shared_ptr<Task> on_ready;
  };

  ThreadExecutor(std::string name, const Clock& clock, UniqueFd epoll, UniqueFd wake);

  void run();
  bool is_stopping() KVFERRY_EXCLUDES(mutex_);
  void drop_tasks() KVFERRY_EXCLUDES(mutex_);
  bool run_posted();
  void run_due_timers();
  bool progress_sources();
  bool arm_sources();
  bool is_spinning(TimePoint last_progress) const;
  void wait_for_events(int timeout_ms);
  int sleep_ms() KVFERRY_EXCLUDES(mutex_);

  const std::string name_;
  const Clock& clock_;
  const UniqueFd epoll_;
  const UniqueFd wake_;

  Mutex mutex_;
  std::vector<Task> posted_ KVFERRY_GUARDED_BY(mutex_);
  std::priority_queue<Timer> timers_ KVFERRY_GUARDED_BY(mutex_);
  uint64_t next_order_ KVFERRY_GUARDED_BY(mutex_) = 0;
  bool stopping_ KVFERRY_GUARDED_BY(mutex_) = false;

  // Executor thread only.
  std::unordered_map<int, Watch> watches_;
  uint32_t next_watch_ = 1;
  std::vector<ProgressSource*> sources_;

  std::atomic<std::thread::id> thread_id_;
  std::thread thread_;
};

}  // namespace kvferry
