#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "kvferry/mutex.h"
#include "kvferry/transfer_engine.h"

namespace kvferry {

/// The fault that the demo injects: flips one byte of one fragment of one in N chunks, after the
/// digest was computed. A chunk is hit once, so that fetching it again helps.
///
/// Threads: any thread, internally locked.
class Corruptor {
 public:
  explicit Corruptor(int64_t one_in) : one_in_(one_in) {}

  void on_staged(const StagedFragment& fragment) KVFERRY_EXCLUDES(mutex_);

  /// Keys of the chunks that were hit.
  std::vector<std::string> keys() const KVFERRY_EXCLUDES(mutex_);

 private:
  const int64_t one_in_;
  mutable Mutex mutex_;
  int64_t num_chunks_ KVFERRY_GUARDED_BY(mutex_) = 0;
  std::unordered_map<std::string, int32_t> targets_ KVFERRY_GUARDED_BY(mutex_);  // fragment to hit
  std::unordered_set<std::string> hit_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
