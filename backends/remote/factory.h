#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "kvferry/cache_config.h"
#include "kvferry/storage_backend.h"

namespace kvferry {

/// A remote store, and what it may cost.
struct RemoteOptions {
  /// Which store, and how long and by how many connections it is asked: a request to Redis that
  /// takes longer ends kUnavailable. Of a directory, `connections` is the number of files worked on
  /// at once.
  RemoteConfig store;
  /// Items that may wait for their turn; more end kResourceExhausted.
  size_t max_queued = 4096;
  /// After so many calls in a row that found the store unavailable, further ones end kUnavailable
  /// at once, until one that is let through after `breaker_cooldown` finds it again.
  int breaker_failures = 3;
  Duration breaker_cooldown = std::chrono::seconds(1);
  /// fs: temporary files of writers that have died are removed at this age.
  Duration stale_after = std::chrono::hours(1);
};

/// Keeps chunks, one value each, where other processes and hosts find them too: every value is a
/// chunk record (docs/formats/chunk_record.md).
///
/// What is found but is not the chunk that was asked for, whole, is a miss: it is counted as
/// data_loss, logged, and removed. There are no pins. A put whose answer did not come may have
/// taken place.
///
/// Errors: kInvalidArgument for no store, or options out of range; kUnimplemented for one that this
///   build leaves out. A store
///   that cannot be reached is no error here.
Result<std::unique_ptr<StorageBackend>> make_remote_backend(BackendContext context,
                                                            const RemoteOptions& options);

}  // namespace kvferry
