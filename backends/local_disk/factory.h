#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kvferry/cache_config.h"
#include "kvferry/storage_backend.h"

namespace kvferry {

struct LocalDiskOptions {
  std::string path;        ///< a directory of its own, made if it is not there
  uint64_t max_bytes = 0;  ///< of file system blocks that its files take, temporary ones included
  CachePolicy policy = CachePolicy::kLru;
  Durability durability = Durability::kNone;
  DiskIo io = DiskIo::kAuto;
  size_t queue_depth = 16;         ///< chunks read or written at once
  size_t max_waiting = 4096;       ///< chunks that wait for that; more end kResourceExhausted
  size_t typical_chunk_bytes = 0;  ///< sizes the policy's queues; 0: unknown
  Duration sync_interval = std::chrono::milliseconds(200);  ///< with kAsync
  uint64_t max_unsynced_bytes = uint64_t{256} << 20;        ///< with kAsync; more puts wait
};

/// Keeps each chunk in a file of its own, as a chunk record (docs/formats/chunk_record.md).
///
/// Reads what the directory holds before it returns: what was put before a crash is there again.
/// A file that is torn, or not the chunk it is named for, is a miss and is removed; files with
/// names that are not the store's are left alone.
///
/// Errors: kInvalidArgument for an empty path, or a bound or depth of 0; kFailedPrecondition if
///   another store has the directory open, it is of another layout version, or io_uring is asked
///   for and does not work here; else what the system says of the directory (kPermissionDenied,
///   kResourceExhausted, ...).
/// Cost: at start a read of 16 KiB per file, on the work pool too.
Result<std::unique_ptr<StorageBackend>> make_local_disk_backend(const BackendContext& context,
                                                                const LocalDiskOptions& options);

}  // namespace kvferry
