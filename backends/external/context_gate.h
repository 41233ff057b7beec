#pragma once

#include "kvferry/mutex.h"

namespace kvferry {

/// Keeps a plugin's late threads away from what ends with the backend: who wants to use the context
/// enters, and close() waits until all have left.
///
/// Threads: any thread, internally locked
class ContextGate {
 public:
  class Entry {
   public:
    explicit Entry(ContextGate& gate) : gate_(gate), is_in_(gate.enter()) {}
    ~Entry() {
      if (is_in_) gate_.leave();
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    explicit operator bool() const { return is_in_; }

   private:
    ContextGate& gate_;
    const bool is_in_;
  };

  /// Not from inside.
  void close() KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    is_closed_ = true;
    while (num_inside_ > 0) left_.wait(mutex_);
  }

 private:
  bool enter() KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (is_closed_) return false;
    ++num_inside_;
    return true;
  }
  void leave() KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (--num_inside_ == 0) left_.notify_all();
  }

  Mutex mutex_;
  CondVar left_;
  bool is_closed_ KVFERRY_GUARDED_BY(mutex_) = false;
  int num_inside_ KVFERRY_GUARDED_BY(mutex_) = 0;
};

}  // namespace kvferry
