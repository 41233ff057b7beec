#pragma once

#include <optional>
#include <vector>

#include "backends/local_disk/chunk_file.h"
#include "core/chunk_index.h"
#include "kvferry/mutex.h"
#include "kvferry/storage_backend.h"

namespace kvferry {

/// Which chunks a store holds, and how many bytes of disk it takes: never more than `max_bytes`,
/// whatever is being written, read or removed.
///
/// Each file is charged from before it is written until after it is gone: as reserved while it is
/// written, in the index while it can be found, then as dying until it is unlinked and its last
/// reader has closed it. What cannot be unlinked stays charged (stuck).
///
/// Threads: any thread, internally locked; it does no I/O.
class DiskCatalog {
 public:
  DiskCatalog(CachePolicy policy, size_t max_bytes, size_t typical_bytes)
      : index_(policy, max_bytes, typical_bytes) {}

  size_t max_bytes() const { return max_bytes_of_index(); }
  bool contains(const CacheEngineKey& key);
  bool pin(const CacheEngineKey& key, PinOwner owner, PinOp op);
  BackendUsage usage() const;

  /// The same chunk is held already, and durable if that is asked for: nothing need be written.
  bool holds_same(const CacheEngineKey& key, uint64_t chunk_digest, bool must_be_synced);

  enum class Room : uint8_t {
    kReserved,  ///< `bytes` may be written
    kLater,     ///< ask again when a file has gone, or a read or a write has ended
    kNone,      ///< there will be none: what is held is pinned
  };
  /// Evicts what is needed; `victims` are to be unlinked, whatever is returned.
  Room reserve(size_t bytes, std::vector<ChunkFilePtr>& victims);
  /// Evicts at least so many bytes, if it can: for a disk that is fuller than the store knows.
  void evict_bytes(size_t bytes, std::vector<ChunkFilePtr>& victims);
  /// The write ended without a file.
  void release(size_t reserved_bytes);
  /// The write ended without a file, but something is left that could not be removed.
  void release_stuck(size_t reserved_bytes);
  /// The file is complete and in its place: `key` is held from here on. Returns the file that it
  /// was in before, to be unlinked, or null.
  ChunkFilePtr commit(const CacheEngineKey& key, ChunkFilePtr file, size_t reserved_bytes);

  /// Null if it is not held; else the file stays readable until end_read.
  ChunkFilePtr begin_read(const CacheEngineKey& key);
  void end_read(ChunkFile& file);

  /// Takes it out, to be unlinked; null if it is not held, or is pinned and force is not given.
  ChunkFilePtr take(const CacheEngineKey& key, bool force);
  /// Takes it out if it still is in that file: what was found wrong.
  bool take_file(const CacheEngineKey& key, const ChunkFile& file);
  /// The file of take, take_file, commit, reserve or evict_bytes has been unlinked, or could not
  /// be.
  void unlinked(ChunkFile& file, bool is_gone);
  void synced(ChunkFile& file);

  /// At start: a file that was found, oldest first. The returned one, if any, is to be unlinked.
  ChunkFilePtr insert_found(const CacheEngineKey& key, ChunkFilePtr file);
  /// At start: a file that was found but is too much, to be unlinked.
  void add_dying(const ChunkFile& file);
  void add_stuck(size_t bytes);

 private:
  using Index = ChunkIndex<ChunkFilePtr>;

  size_t max_bytes_of_index() const KVFERRY_NO_THREAD_SAFETY_ANALYSIS { return index_.max_bytes(); }
  bool evict_one(std::vector<ChunkFilePtr>& victims) KVFERRY_REQUIRES(mutex_);
  ChunkFilePtr take_out(Index::Entry& entry) KVFERRY_REQUIRES(mutex_);

  mutable Mutex mutex_;
  Index index_ KVFERRY_GUARDED_BY(mutex_);
  size_t reserved_ KVFERRY_GUARDED_BY(mutex_) = 0;
  size_t dying_ KVFERRY_GUARDED_BY(mutex_) = 0;
  size_t stuck_ KVFERRY_GUARDED_BY(mutex_) = 0;
  size_t reads_ KVFERRY_GUARDED_BY(mutex_) = 0;
};

}  // namespace kvferry
