#pragma once

#include <cstdint>
#include <functional>

#include "kvferry/clock.h"
#include "kvferry/status.h"

namespace kvferry {

/// Something that only moves when it is called (a UCX worker, say).
///
/// Threads: called by the executor that it was added to, and by nobody else.
class ProgressSource {
 public:
  virtual ~ProgressSource() = default;
  /// Does what can be done without waiting; true when it did anything.
  virtual bool progress() = 0;
  /// A descriptor that becomes readable when progress() has work, or -1.
  virtual int event_fd() const = 0;
  /// Readies event_fd() for a sleep. False: events came in meanwhile, call progress() again.
  virtual bool arm() = 0;
};

/// One logical thread of execution: everything given to an executor runs on it, one at a time, in
/// the order given (timers by their time). State owned by an executor needs no lock.
///
/// In production a thread sleeping in epoll; in the simulator a seeded scheduler.
///
/// Threads: post and post_at from any thread; the rest from the executor itself.
class Executor {
 public:
  using Task = std::function<void()>;

  virtual ~Executor() = default;

  virtual void post(Task task) = 0;
  virtual void post_at(TimePoint when, Task task) = 0;

  /// Calls `on_ready` while `fd` is readable (or `want_write` and writable), until unwatch_fd.
  /// Errors: kResourceExhausted or kInvalidArgument with the errno of the poller.
  virtual Status watch_fd(int fd, bool want_write, Task on_ready) = 0;
  virtual void unwatch_fd(int fd) = 0;

  /// Borrows `source` until it is removed.
  virtual Status add_progress_source(ProgressSource* source) = 0;
  virtual void remove_progress_source(ProgressSource* source) = 0;

  virtual const Clock& clock() const = 0;
  /// True when the caller runs on this executor.
  virtual bool is_current() const = 0;
};

}  // namespace kvferry
