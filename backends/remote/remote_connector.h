#pragma once

#include <functional>
#include <span>

#include "kvferry/storage_backend.h"

namespace kvferry {

/// The way to one remote store. Calls and their ends are those of StorageBackend's do_ calls, but
/// errors say more:
///
/// - kUnavailable: the store did not answer, or cannot be reached now.
/// - kDataLoss (of a get): something is there, but not the chunk that was asked for.
///
/// Threads: any thread, internally locked. Ends come on any thread, without a lock held.
class RemoteConnector {
 public:
  virtual ~RemoteConnector() = default;
  virtual void exists(std::span<const CacheEngineKey> keys, ContainsDone done) = 0;
  virtual void put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
                   PutDone done) = 0;
  virtual void get(std::span<const CacheEngineKey> keys, const GetOptions& options,
                   GetDone done) = 0;
  virtual void remove(std::span<const CacheEngineKey> keys, RemoveDone done) = 0;
  /// Ends what is open, kCancelled or better, then calls `on_closed`. Called once, and last.
  virtual void close(std::function<void()> on_closed) = 0;
};

}  // namespace kvferry
