#pragma once

#include <vector>

#include "backends/local_disk/disk_catalog.h"
#include "backends/local_disk/io/file_system.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// A chunk whose file is complete, but may not outlive a power cut yet.
struct UnsyncedChunk {
  CacheEngineKey key;
  ChunkFilePtr file;
};

/// Files that are yet to be synced, in batches: what Durability::kAsync promises.
///
/// Threads: any thread, internally locked.
class SyncQueue {
 public:
  explicit SyncQueue(uint64_t max_bytes) : max_bytes_(max_bytes) {}

  /// True if it was empty: a timer is due.
  bool add(const CacheEngineKey& key, ChunkFilePtr file);
  /// All that is there, to be given to end_batch() when it is synced. Empty while a batch is.
  std::vector<UnsyncedChunk> begin_batch();
  /// True if more came meanwhile.
  bool end_batch(const std::vector<UnsyncedChunk>& batch);

  bool is_idle() const;
  /// There is so much that no more should come before a batch has ended.
  bool is_full() const;

 private:
  const uint64_t max_bytes_;
  mutable Mutex mutex_;
  std::vector<UnsyncedChunk> waiting_ KVFERRY_GUARDED_BY(mutex_);
  uint64_t bytes_ KVFERRY_GUARDED_BY(mutex_) = 0;
  bool is_syncing_ KVFERRY_GUARDED_BY(mutex_) = false;
};

/// Syncs the files, then the directories with their names. What has been removed meanwhile is left
/// out. Returns those of which it is not known that they would outlive a power cut.
std::vector<UnsyncedChunk> sync_chunks(FileSystem& files, const StorePaths& paths,
                                       DiskCatalog& catalog,
                                       const std::vector<UnsyncedChunk>& batch);

}  // namespace kvferry
