#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kvferry/cache_policy.h"
#include "kvferry/storage_backend.h"

namespace kvferry {

/// What a put that ended OK outlives, besides the end of the process (docs/local_disk.md).
enum class DiskDurability : uint8_t {
  kNone,   ///< nothing more: it is on disk when the system gets round to it
  kAsync,  ///< a power cut, from sync_interval later on
  kSync,   ///< a power cut
};

enum class DiskIo : uint8_t {
  kAuto,   ///< io_uring where it and direct I/O work, else pread
  kUring,  ///< as auto, but an error where io_uring does not work
  kPread,  ///< pread and pwrite on the work pool
};

struct LocalDiskOptions {
  std::string path;        ///< a directory of its own, made if it is not there
  uint64_t max_bytes = 0;  ///< of file system blocks that its files take, temporary ones included
  CachePolicy policy = CachePolicy::kLru;
  DiskDurability durability = DiskDurability::kNone;
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
Result<std::unique_ptr<StorageBackend>> make_local_disk_backend(BackendContext context,
                                                                const LocalDiskOptions& options);

}  // namespace kvferry
