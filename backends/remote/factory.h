#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "kvferry/storage_backend.h"

namespace kvferry {

/// Where a remote store is, and how long it is waited for.
struct RemoteOptions {
  /// fs:///shared/directory; redis://[user:password@]host[:port][/database];
  /// unix://[user:password@]/path/of/socket (Redis); blackhole://.
  std::string url;
  std::string username;  ///< unless the URL has one; empty: the server's default user
  std::string password;  ///< unless the URL has one; empty: none is sent
  /// An answer that takes longer is given up: the item ends kUnavailable.
  Duration timeout = std::chrono::seconds(5);
  size_t connections = 1;  ///< to a server; for fs: files worked on at once
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
/// Errors: kInvalidArgument for a URL that is malformed or of an unknown scheme, naming what, and
///   for options out of range; kUnimplemented for a scheme that this build leaves out. A store
///   that cannot be reached is no error here.
Result<std::unique_ptr<StorageBackend>> make_remote_backend(BackendContext context,
                                                            const RemoteOptions& options);

}  // namespace kvferry
