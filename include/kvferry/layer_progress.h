#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <utility>

#include "kvferry/mutex.h"

namespace kvferry {

/// Tells a store how far the engine has computed: layers are read as they are completed, while the
/// engine computes the next ones. For one store.
///
/// Threads: any thread.
class LayerProgress {
 public:
  /// The pages of all layers up to and with this one are complete. Never goes back.
  void complete(int32_t layer) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (layer <= last_complete_) return;
    last_complete_ = layer;
    if (listener_) listener_();
  }

  /// The last layer that is complete; less than any layer if none is.
  int32_t last_complete() const KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return last_complete_;
  }

  /// For the store: runs after each change, on the thread that completes; must not block.
  void listen(std::function<void()> listener) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    listener_ = std::move(listener);
  }

 private:
  mutable Mutex mutex_;
  int32_t last_complete_ KVFERRY_GUARDED_BY(mutex_) = std::numeric_limits<int32_t>::min();
  std::function<void()> listener_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
