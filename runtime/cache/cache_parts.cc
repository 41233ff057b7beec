#include "runtime/cache/cache_parts.h"

#include <utility>

namespace kvferry {
namespace {

/// Backends that have not closed yet.
struct OpenBackends {
  Mutex mutex;
  CondVar closed;
  size_t count KVFERRY_GUARDED_BY(mutex) = 0;
};

bool close_all(CacheParts& parts) {
  auto open = std::make_shared<OpenBackends>();
  {
    MutexLock lock(open->mutex);
    open->count = parts.tiers.size();
  }
  for (const CacheTier& tier : parts.tiers) {
    tier.backend->close([open] {
      MutexLock lock(open->mutex);
      --open->count;
      open->closed.notify_all();
    });
  }
  const TimePoint deadline = parts.clock.now() + kCloseTimeout;
  MutexLock lock(open->mutex);
  while (open->count > 0 && open->closed.wait_until(open->mutex, deadline)) {
  }
  return open->count == 0;
}

}  // namespace

void stop_threads(CacheParts& parts) {
  parts.copiers.reset();  // ends what is being copied, which posts to the control executor
  if (parts.control) parts.control->stop();
  // Executors stop before they go: what still runs in the pools may post to them.
  for (auto& executor : parts.sink_executors) executor->stop();
  parts.io.clear();
  if (parts.pool && parts.pool->usage().used_slots > 0) static_cast<void>(parts.pool.release());
}

void dismantle(std::unique_ptr<CacheParts> parts) {
  if (close_all(*parts)) {
    stop_threads(*parts);
    return;
  }
  parts->logger.detach();
  static_cast<void>(parts.release());
}

}  // namespace kvferry
