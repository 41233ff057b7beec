#pragma once

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kvferry/backend_context.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// A WorkPool of a fixed number of threads over one queue. Those who submit bound what they have
/// under way: it has no bound of its own.
class ThreadWorkPool final : public WorkPool {
 public:
  /// Errors: kInvalidArgument for no threads; kResourceExhausted when the system gives none.
  static Result<std::unique_ptr<ThreadWorkPool>> create(const std::string& name,
                                                        size_t num_threads);
  /// Runs what was submitted, then ends the threads.
  ~ThreadWorkPool() override;

  void submit(Executor::Task task) override;

 private:
  ThreadWorkPool() = default;
  void run() KVFERRY_EXCLUDES(mutex_);

  Mutex mutex_;
  CondVar changed_;
  std::deque<Executor::Task> tasks_ KVFERRY_GUARDED_BY(mutex_);
  bool stopping_ KVFERRY_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace kvferry
