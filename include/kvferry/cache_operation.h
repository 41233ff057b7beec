#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "kvferry/mutex.h"

namespace kvferry {

/// An operation of a CacheEngine under way, as its caller sees it. Dropping it ends nothing.
///
/// Threads: any thread; wait() not from the engine's callbacks.
template <typename T>
class OperationHandle {
 public:
  /// What the operation and its handles share.
  class State {
   public:
    explicit State(std::function<void()> cancel) : cancel_(std::move(cancel)) {}
    void end(T result) KVFERRY_EXCLUDES(mutex_) {
      MutexLock lock(mutex_);
      result_ = std::move(result);
      cancel_ = nullptr;
      ended_.notify_all();
    }

   private:
    friend class OperationHandle;
    Mutex mutex_;
    CondVar ended_;
    std::optional<T> result_ KVFERRY_GUARDED_BY(mutex_);
    std::function<void()> cancel_ KVFERRY_GUARDED_BY(mutex_);
  };

  explicit OperationHandle(std::shared_ptr<State> state) : state_(std::move(state)) {}

  /// Waits for the end. It comes: every operation has a deadline.
  T wait() const {
    MutexLock lock(state_->mutex_);
    while (!state_->result_.has_value()) state_->ended_.wait(state_->mutex_);
    return *state_->result_;
  }

  bool is_done() const {
    MutexLock lock(state_->mutex_);
    return state_->result_.has_value();
  }

  /// Ends it soon, with what it has done so far. It has ended, and memory is quiet, when wait()
  /// returns or its callback runs.
  void cancel() const {
    MutexLock lock(state_->mutex_);
    if (state_->cancel_) state_->cancel_();
  }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace kvferry
