#include "runtime/cache/cache_parts.h"

#include "runtime/storage/close_backends.h"

namespace kvferry {

void stop_threads(CacheParts& parts) {
  parts.peers.reset();    // what peers still read goes back to the pool
  parts.copiers.reset();  // ends what is being copied, which posts to the control executor
  if (parts.control) parts.control->stop();
  // Executors stop before they go: what still runs in the pools may post to them.
  for (auto& executor : parts.sink_executors) executor->stop();
  parts.io.clear();
  if (parts.pool && parts.pool->usage().used_slots > 0) static_cast<void>(parts.pool.release());
}

void dismantle(std::unique_ptr<CacheParts> parts) {
  std::vector<StorageBackend*> backends;
  for (const CacheTier& tier : parts->tiers) backends.push_back(tier.backend.get());
  if (close_backends(backends, parts->clock.now() + kCloseTimeout)) {
    stop_threads(*parts);
    return;
  }
  parts->logger.detach();
  static_cast<void>(parts.release());
}

}  // namespace kvferry
