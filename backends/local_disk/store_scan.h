#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/local_disk/chunk_file.h"
#include "backends/local_disk/io/file_system.h"
#include "kvferry/backend_context.h"

namespace kvferry {

struct FoundChunk {
  CacheEngineKey key;
  ChunkFilePtr file;
  int64_t mtime_ns = 0;
};

struct StoreScan {
  std::vector<FoundChunk> chunks;  ///< oldest first
  uint64_t last_generation = 0;    ///< of all names, also of what was removed
  uint64_t torn = 0;           ///< ours by name, but truncated, damaged or of another chunk: gone
  uint64_t other_version = 0;  ///< ours by name, of a record version that is not ours: gone
  uint64_t temporaries = 0;    ///< what a crash left half written: gone
  uint64_t foreign = 0;        ///< not ours: left alone
  std::string foreign_example;
  size_t stuck_bytes = 0;  ///< of what should have gone, but could not be removed
};

/// Reads the header of every chunk in the store, on the work pool and the calling thread.
///
/// Removes what is ours by its name but is not a chunk. Whether payloads are intact is not looked
/// at: their digests say so to whoever reads them.
///
/// Errors: errno_status() if a directory or file cannot be read, but for EIO, which counts as torn.
Result<StoreScan> scan_store(FileSystem& files, const StorePaths& paths, bool direct,
                             WorkPool& pool);

}  // namespace kvferry
