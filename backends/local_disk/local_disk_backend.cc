#include "backends/local_disk/local_disk_backend.h"

#include <utility>

#include "backends/local_disk/disk_get.h"
#include "backends/local_disk/disk_put.h"

namespace kvferry {
namespace {

constexpr BackendTraits kTraits = {
    .retains = true, .pins = true, .persists = true, .is_memory = false};

}  // namespace

LocalDiskBackend::LocalDiskBackend(std::shared_ptr<DiskStore> store)
    : StorageBackend(store->context(), kTraits), store_(std::move(store)) {}

void LocalDiskBackend::do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) {
  for (size_t i = 0; i < keys.size(); ++i) done(i, store_->catalog().contains(keys[i]));
}

void LocalDiskBackend::do_put(std::span<const CacheEngineKey> keys,
                              std::span<const MemoryObjPtr> objs, const TransferSpec& /*spec*/,
                              PutDone done) {
  const bool is_sync = store_->durability() == Durability::kSync;
  std::vector<std::shared_ptr<DiskItem>> items;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (store_->catalog().holds_same(keys[i], objs[i]->chunk_digest, is_sync)) {
      done(i, {});
      continue;
    }
    auto put = DiskPut::create(store_, keys[i], objs[i],
                               [done, i](Status status) { done(i, std::move(status)); });
    if (!put) {
      done(i, std::move(put).error());
    } else if ((*put)->bytes_needed() > store_->catalog().max_bytes()) {
      done(i, Status(StatusCode::kResourceExhausted,
                     "a chunk of " + std::to_string((*put)->bytes_needed()) +
                         " bytes on disk is larger than all of sink " + name() + " (" +
                         std::to_string(store_->catalog().max_bytes()) + ")"));
    } else {
      items.push_back(std::move(put).value());
    }
  }
  store_->enqueue(std::move(items));
}

void LocalDiskBackend::do_get(std::span<const CacheEngineKey> keys, const GetOptions& options,
                              GetDone done) {
  std::vector<std::shared_ptr<DiskItem>> items;
  for (size_t i = 0; i < keys.size(); ++i) {
    ChunkFilePtr file = store_->catalog().begin_read(keys[i]);
    if (file == nullptr) {
      done(i, MemoryObjPtr());
      continue;
    }
    items.push_back(std::make_shared<DiskGet>(
        store_, keys[i], std::move(file), options,
        [done, i](Result<MemoryObjPtr> obj) { done(i, std::move(obj)); }));
  }
  store_->enqueue(std::move(items));
}

void LocalDiskBackend::do_remove(std::span<const CacheEngineKey> keys, bool force,
                                 RemoveDone done) {
  std::vector<std::pair<size_t, ChunkFilePtr>> taken;
  for (size_t i = 0; i < keys.size(); ++i) {
    ChunkFilePtr file = store_->catalog().take(keys[i], force);
    if (file == nullptr) {
      done(i, false);
    } else {
      taken.emplace_back(i, std::move(file));
    }
  }
  if (taken.empty()) return;
  store_->run_blocking([store = store_, taken = std::move(taken), done = std::move(done)] {
    for (const auto& [item, file] : taken) {
      store->unlink(*file);
      done(item, true);
    }
    store->look_for_work();
  });
}

void LocalDiskBackend::do_pin(std::span<const CacheEngineKey> keys, PinOwner owner, PinOp op,
                              PinDone done) {
  for (size_t i = 0; i < keys.size(); ++i) done(i, store_->catalog().pin(keys[i], owner, op));
}

void LocalDiskBackend::do_close(std::function<void()> on_closed) {
  store_->close(std::move(on_closed));
}

}  // namespace kvferry
