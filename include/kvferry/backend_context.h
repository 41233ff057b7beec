#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvferry/executor.h"
#include "kvferry/logger.h"
#include "kvferry/memory_obj.h"
#include "kvferry/status.h"

namespace kvferry {

/// Gives chunk-sized memory: the one source of what backends read into.
///
/// Threads: any thread. Owner: outlives every object taken from it.
class MemoryAllocator {
 public:
  /// Makes room: lets go of so many objects if it can, and says of how many it did. Called on the
  /// thread that allocates, without a lock held.
  using Reclaimer = std::function<size_t(size_t num_objects)>;

  virtual ~MemoryAllocator() = default;

  /// An object of `size_bytes` with unknown bytes, no layout and no digests. Never waits.
  /// Errors: kResourceExhausted when all memory is in use; kInvalidArgument for more than any
  ///   object holds.
  virtual Result<MemoryObjPtr> allocate(size_t size_bytes) = 0;

  /// Asked before allocate() gives up. One at most; empty takes it away, and waits for the end of
  /// calls under way.
  virtual void set_reclaimer(Reclaimer reclaimer) = 0;

  /// All memory that it ever gives, for registration with a device. Aligned to 4 KiB.
  virtual std::vector<std::span<std::byte>> regions() const = 0;
};

/// Threads for work that blocks; several tasks run at once, in any order.
///
/// Threads: any thread.
class WorkPool {
 public:
  virtual ~WorkPool() = default;
  /// Never blocks; what was submitted runs, also while the process ends in order.
  virtual void submit(Executor::Task task) = 0;
};

/// Starts a thread of its own for `body`, and never waits for it: for code that may not return.
///
/// Threads: any thread. Errors: kResourceExhausted when the system gives none; `body` is dropped.
using ThreadStarter = std::function<Status(const std::string& name, Executor::Task body)>;

/// Numbers that a backend counts for its operators, besides those that the runtime counts for every
/// backend (docs/metrics.md). Names: lower case, digits and '_'.
///
/// Threads: any thread.
class BackendMetrics {
 public:
  virtual ~BackendMetrics() = default;
  virtual void add(std::string_view counter, uint64_t amount) = 0;
  virtual void set(std::string_view gauge, double value) = 0;
};

/// All that a backend gets from the process it lives in, as LMCache's backends get it from their
/// constructor's arguments. What it points to is borrowed and outlives the backend.
struct BackendContext {
  std::string name;               ///< of the sink, in logs and metrics: "local_disk"
  Executor* executor = nullptr;   ///< the backend's own: timers, descriptors, short tasks
  WorkPool* work_pool = nullptr;  ///< shared: blocking calls
  MemoryAllocator* allocator = nullptr;
  Logger* logger = nullptr;                              ///< may be null
  BackendMetrics* metrics = nullptr;                     ///< may be null
  ThreadStarter start_thread;                            ///< needed by external backends only
  Duration blocking_timeout = std::chrono::seconds(10);  ///< LMCache's blocking_timeout_secs
};

/// A backend's own settings, as text.
using ConfigSection = std::map<std::string, std::string>;

}  // namespace kvferry
