#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "kvferry/executor.h"

namespace kvferry {

/// One process of this host, watched for its end.
///
/// Threads: the executor it was made for.
class ProcessWatch {
 public:
  virtual ~ProcessWatch() = default;
  /// True only when it is certain.
  virtual bool is_gone() const = 0;
  /// Runs `heard` once, when the process is gone; not after the watch has ended.
  /// Errors: kResourceExhausted when the system cannot tell.
  virtual Status when_gone(std::function<void()> heard) = 0;
};

/// What an engine asks the system about its own process and its neighbours. The simulator answers
/// for processes of its own.
///
/// Threads: any thread.
class ProcessView {
 public:
  virtual ~ProcessView() = default;
  virtual int32_t pid() const = 0;
  /// Equal in all processes that share a running kernel; empty if the system does not tell.
  virtual std::string host_id() const = 0;
  virtual uint64_t random_word() = 0;
  /// Can this process read that of `pid`? Reads the word at `address` there and compares.
  virtual bool can_read(int32_t pid, uint64_t address, uint64_t expected) const = 0;
  /// Null where processes cannot be watched, or that one is gone already.
  virtual std::unique_ptr<ProcessWatch> watch(int32_t pid, Executor& executor) = 0;
};

/// The operating system's.
std::unique_ptr<ProcessView> make_system_process_view();

}  // namespace kvferry
