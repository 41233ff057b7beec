#include "runtime/storage/close_backends.h"

#include <memory>

#include "kvferry/mutex.h"

namespace kvferry {

bool close_backends(std::span<StorageBackend* const> backends, TimePoint deadline) {
  // Shared with one that closes too late.
  struct Open {
    Mutex mutex;
    CondVar closed;
    size_t count KVFERRY_GUARDED_BY(mutex) = 0;
  };
  auto open = std::make_shared<Open>();
  {
    MutexLock lock(open->mutex);
    open->count = backends.size();
  }
  for (StorageBackend* backend : backends) {
    backend->close([open] {
      MutexLock lock(open->mutex);
      --open->count;
      open->closed.notify_all();
    });
  }
  MutexLock lock(open->mutex);
  while (open->count > 0 && open->closed.wait_until(open->mutex, deadline)) {
  }
  return open->count == 0;
}

}  // namespace kvferry
