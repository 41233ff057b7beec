#include "backends/local_disk/sync_queue.h"

#include <map>
#include <string>
#include <utility>

namespace kvferry {

bool SyncQueue::add(const CacheEngineKey& key, ChunkFilePtr file) {
  MutexLock lock(mutex_);
  bytes_ += file->disk_bytes;
  waiting_.push_back({key, std::move(file)});
  return waiting_.size() == 1;
}

std::vector<UnsyncedChunk> SyncQueue::begin_batch() {
  MutexLock lock(mutex_);
  if (is_syncing_ || waiting_.empty()) return {};
  is_syncing_ = true;
  return std::exchange(waiting_, {});
}

bool SyncQueue::end_batch(const std::vector<UnsyncedChunk>& batch) {
  MutexLock lock(mutex_);
  for (const UnsyncedChunk& chunk : batch) bytes_ -= chunk.file->disk_bytes;
  is_syncing_ = false;
  return !waiting_.empty();
}

bool SyncQueue::is_idle() const {
  MutexLock lock(mutex_);
  return waiting_.empty() && !is_syncing_;
}

bool SyncQueue::is_full() const {
  MutexLock lock(mutex_);
  return bytes_ >= max_bytes_;
}

std::vector<UnsyncedChunk> sync_chunks(FileSystem& files, const StorePaths& paths,
                                       DiskCatalog& catalog,
                                       const std::vector<UnsyncedChunk>& batch) {
  std::vector<UnsyncedChunk> failed;
  std::map<std::string, std::vector<const UnsyncedChunk*>> by_shard;
  for (const UnsyncedChunk& chunk : batch) {
    const auto file = OpenFile::open(files, paths.chunk(chunk.file->name), {});
    if (!file && file.error().code() == StatusCode::kNotFound) continue;
    if (file && files.sync_file(file->fd()).is_ok()) {
      by_shard[paths.shard(chunk.file->name)].push_back(&chunk);
    } else {
      failed.push_back(chunk);
    }
  }
  for (const auto& [shard, chunks] : by_shard) {
    const bool is_synced = files.sync_directory(shard).is_ok();
    for (const UnsyncedChunk* chunk : chunks) {
      if (is_synced) {
        catalog.synced(*chunk->file);
      } else {
        failed.push_back(*chunk);
      }
    }
  }
  return failed;
}

}  // namespace kvferry
