#include "backends/local_disk/disk_catalog.h"

#include <utility>

namespace kvferry {

bool DiskCatalog::contains(const CacheEngineKey& key) {
  MutexLock lock(mutex_);
  return index_.find(key) != nullptr;
}

bool DiskCatalog::pin(const CacheEngineKey& key, PinOwner owner, PinOp op) {
  MutexLock lock(mutex_);
  Index::Entry* const entry = index_.find(key);
  if (entry == nullptr) return false;
  if (op == PinOp::kUnpin) return entry->pins.unpin(owner);
  entry->pins.pin(owner);
  return true;
}

BackendUsage DiskCatalog::usage() const {
  MutexLock lock(mutex_);
  BackendUsage usage;
  usage.entries = index_.size();
  usage.bytes = index_.bytes() + reserved_ + dying_ + stuck_;
  usage.capacity_bytes = index_.max_bytes();
  usage.evicted_entries = index_.evicted();
  index_.for_each([&](const CacheEngineKey&, const Index::Entry& entry) {
    if (entry.pins.is_pinned()) ++usage.pinned_entries;
  });
  return usage;
}

bool DiskCatalog::holds_same(const CacheEngineKey& key, uint64_t chunk_digest,
                             bool must_be_synced) {
  MutexLock lock(mutex_);
  Index::Entry* const entry = index_.find(key);
  if (entry == nullptr || entry->value->chunk_digest != chunk_digest) return false;
  if (must_be_synced && !entry->value->is_synced) return false;
  index_.touch(*entry);
  return true;
}

bool DiskCatalog::evict_one(std::vector<ChunkFilePtr>& victims) {
  const bool is_evicted = index_.evict(
      [](const Index::Entry& entry) { return entry.value->readers == 0; },
      [&](const CacheEngineKey&, ChunkFilePtr file) { victims.push_back(std::move(file)); });
  if (is_evicted) dying_ += victims.back()->disk_bytes;
  return is_evicted;
}

ChunkFilePtr DiskCatalog::take_out(Index::Entry& entry) {
  ChunkFilePtr file = index_.erase(entry);
  dying_ += file->disk_bytes;
  return file;
}

DiskCatalog::Room DiskCatalog::reserve(size_t bytes, std::vector<ChunkFilePtr>& victims) {
  MutexLock lock(mutex_);
  // First as if all that is dying were gone; it will be.
  while (!index_.has_room(reserved_ + stuck_ + bytes)) {
    if (evict_one(victims)) continue;
    return reserved_ > 0 || reads_ > 0 ? Room::kLater : Room::kNone;
  }
  if (!index_.has_room(reserved_ + stuck_ + dying_ + bytes)) return Room::kLater;
  reserved_ += bytes;
  return Room::kReserved;
}

void DiskCatalog::evict_bytes(size_t bytes, std::vector<ChunkFilePtr>& victims) {
  MutexLock lock(mutex_);
  size_t evicted = 0;
  while (evicted < bytes && evict_one(victims)) evicted += victims.back()->disk_bytes;
}

void DiskCatalog::release(size_t reserved_bytes) {
  MutexLock lock(mutex_);
  reserved_ -= reserved_bytes;
}

void DiskCatalog::release_stuck(size_t reserved_bytes) {
  MutexLock lock(mutex_);
  reserved_ -= reserved_bytes;
  stuck_ += reserved_bytes;
}

ChunkFilePtr DiskCatalog::commit(const CacheEngineKey& key, ChunkFilePtr file,
                                 size_t reserved_bytes) {
  MutexLock lock(mutex_);
  reserved_ -= reserved_bytes;
  PinCounts pins;
  ChunkFilePtr replaced;
  if (Index::Entry* const old = index_.find(key); old != nullptr) {
    pins = std::move(old->pins);
    replaced = take_out(*old);
  }
  const size_t bytes = file->disk_bytes;
  index_.insert(key, bytes, std::move(file)).pins = std::move(pins);
  return replaced;
}

ChunkFilePtr DiskCatalog::begin_read(const CacheEngineKey& key) {
  MutexLock lock(mutex_);
  Index::Entry* const entry = index_.find(key);
  if (entry == nullptr) return nullptr;
  index_.touch(*entry);
  ++entry->value->readers;
  ++reads_;
  return entry->value;
}

void DiskCatalog::end_read(ChunkFile& file) {
  MutexLock lock(mutex_);
  --reads_;
  if (--file.readers == 0 && file.is_unlinked) dying_ -= file.disk_bytes;
}

ChunkFilePtr DiskCatalog::take(const CacheEngineKey& key, bool force) {
  MutexLock lock(mutex_);
  Index::Entry* const entry = index_.find(key);
  if (entry == nullptr || (entry->pins.is_pinned() && !force)) return nullptr;
  return take_out(*entry);
}

bool DiskCatalog::take_file(const CacheEngineKey& key, const ChunkFile& file) {
  MutexLock lock(mutex_);
  Index::Entry* const entry = index_.find(key);
  if (entry == nullptr || entry->value.get() != &file) return false;
  take_out(*entry);
  return true;
}

void DiskCatalog::unlinked(ChunkFile& file, bool is_gone) {
  MutexLock lock(mutex_);
  if (!is_gone) {
    dying_ -= file.disk_bytes;
    stuck_ += file.disk_bytes;
    return;
  }
  file.is_unlinked = true;
  if (file.readers == 0) dying_ -= file.disk_bytes;
}

void DiskCatalog::synced(ChunkFile& file) {
  MutexLock lock(mutex_);
  file.is_synced = true;
}

ChunkFilePtr DiskCatalog::insert_found(const CacheEngineKey& key, ChunkFilePtr file) {
  MutexLock lock(mutex_);
  ChunkFilePtr replaced;
  if (Index::Entry* const other = index_.find(key); other != nullptr) {
    if (other->value->name.generation > file->name.generation) {
      dying_ += file->disk_bytes;
      return file;
    }
    replaced = take_out(*other);
  }
  const size_t bytes = file->disk_bytes;
  index_.insert(key, bytes, std::move(file));
  return replaced;
}

void DiskCatalog::add_dying(const ChunkFile& file) {
  MutexLock lock(mutex_);
  dying_ += file.disk_bytes;
}

void DiskCatalog::add_stuck(size_t bytes) {
  MutexLock lock(mutex_);
  stuck_ += bytes;
}

}  // namespace kvferry
