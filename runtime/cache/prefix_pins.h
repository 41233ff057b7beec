#pragma once

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/storage/sink.h"

namespace kvferry {

/// Keeps chunks from being evicted where a lookup found them, until it goes.
///
/// Threads: any thread
class PrefixPins {
 public:
  explicit PrefixPins(PinOwner owner) : owner_(owner) {}
  ~PrefixPins() { release(); }
  PrefixPins(const PrefixPins&) = delete;
  PrefixPins& operator=(const PrefixPins&) = delete;

  /// Pins `keys` in `sink`, and says how many of them, from the first on, it could. Blocks until
  /// `deadline` at most. A sink that pins nothing counts as one that pinned all.
  size_t pin(const std::shared_ptr<Sink>& sink, std::vector<CacheEngineKey> keys,
             TimePoint deadline);

  /// Unpins all. Idempotent.
  void release();

 private:
  using Pinned = std::pair<std::weak_ptr<Sink>, std::vector<CacheEngineKey>>;

  const PinOwner owner_;
  std::vector<Pinned> pinned_;
  std::atomic<bool> released_{false};
};

}  // namespace kvferry
