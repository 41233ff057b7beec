#include "runtime/thread_work_pool.h"

#include <pthread.h>

#include <system_error>
#include <utility>

namespace kvferry {

Result<std::unique_ptr<ThreadWorkPool>> ThreadWorkPool::create(const std::string& name,
                                                               size_t num_threads) {
  if (num_threads == 0) {
    return make_error(StatusCode::kInvalidArgument, "work pool " + name + " needs a thread");
  }
  std::unique_ptr<ThreadWorkPool> pool(new ThreadWorkPool());
  try {
    for (size_t i = 0; i < num_threads; ++i) {
      pool->threads_.emplace_back([self = pool.get()] { self->run(); });
      pthread_setname_np(pool->threads_.back().native_handle(), name.substr(0, 15).c_str());
    }
  } catch (const std::system_error& error) {
    return make_error(StatusCode::kResourceExhausted,
                      "no thread for work pool " + name + ": " + error.what());
  }
  return pool;
}

ThreadWorkPool::~ThreadWorkPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

void ThreadWorkPool::submit(Executor::Task task) {
  MutexLock lock(mutex_);
  tasks_.push_back(std::move(task));
  changed_.notify_one();
}

void ThreadWorkPool::run() {
  for (;;) {
    Executor::Task task;
    {
      MutexLock lock(mutex_);
      while (tasks_.empty() && !stopping_) changed_.wait(mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace kvferry
