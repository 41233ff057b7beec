#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

// Clang's -Wthread-safety reads these; other compilers see nothing. libstdc++'s own std::mutex is
// not annotated, hence the wrappers.
#if defined(__clang__)
#define KVFERRY_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define KVFERRY_THREAD_ATTRIBUTE(x)
#endif
#define KVFERRY_CAPABILITY(name) KVFERRY_THREAD_ATTRIBUTE(capability(name))
#define KVFERRY_SCOPED_CAPABILITY KVFERRY_THREAD_ATTRIBUTE(scoped_lockable)
#define KVFERRY_GUARDED_BY(mu) KVFERRY_THREAD_ATTRIBUTE(guarded_by(mu))
#define KVFERRY_REQUIRES(...) KVFERRY_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define KVFERRY_EXCLUDES(...) KVFERRY_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define KVFERRY_ACQUIRE(...) KVFERRY_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define KVFERRY_RELEASE(...) KVFERRY_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define KVFERRY_NO_THREAD_SAFETY_ANALYSIS KVFERRY_THREAD_ATTRIBUTE(no_thread_safety_analysis)

namespace kvferry {

/// std::mutex that clang's thread safety analysis understands.
class KVFERRY_CAPABILITY("mutex") Mutex {
 public:
  void lock() KVFERRY_ACQUIRE() { mutex_.lock(); }
  void unlock() KVFERRY_RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

/// Holds a Mutex for a scope.
class KVFERRY_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) KVFERRY_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() KVFERRY_RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// Condition variable over Mutex. Waits may wake early: call in a loop over the condition.
class CondVar {
 public:
  void wait(Mutex& mutex) KVFERRY_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }

  /// False when `deadline` passed before a wake-up.
  bool wait_until(Mutex& mutex, std::chrono::steady_clock::time_point deadline)
      KVFERRY_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool woken = condition_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return woken;
  }

  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace kvferry
