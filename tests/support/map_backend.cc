#include "tests/support/map_backend.h"

#include <algorithm>
#include <thread>

namespace kvferry {
namespace {

/// Memory of nobody's allocator.
class HeapObject final : public MemoryOwner {
 public:
  static MemoryObjPtr make(size_t size_bytes) {
    auto* owner = new HeapObject(size_bytes);
    owner->obj_.resize(size_bytes);
    return MemoryObjPtr(&owner->obj_);
  }

 private:
  explicit HeapObject(size_t size_bytes) : bytes_(size_bytes), obj_(*this, bytes_) {}
  void release(MemoryObj& /*obj*/) noexcept override { delete this; }

  std::vector<std::byte> bytes_;
  MemoryObj obj_;
};

constexpr BackendTraits kMapTraits = {
    .retains = true, .pins = true, .persists = true, .is_memory = false};

}  // namespace

MapBackend::MapBackend(const BackendContext& context, std::shared_ptr<MapStore> store,
                       size_t capacity_bytes, MapFault fault)
    : StorageBackend(context, kMapTraits),
      store_(std::move(store)),
      capacity_bytes_(capacity_bytes),
      fault_(fault) {
  MutexLock lock(store_->mutex);
  for (auto& [key, entry] : store_->entries) entry.pins = PinCounts();
  if (has(MapFault::kForgetsOnReopen) && !store_->entries.empty()) {
    erase(store_->entries.find(store_->oldest_first.back()));
  }
}

BackendUsage MapBackend::usage() const {
  MutexLock lock(store_->mutex);
  BackendUsage usage;
  usage.entries = store_->entries.size();
  usage.bytes = store_->bytes;
  usage.capacity_bytes = capacity_bytes_;
  usage.evicted_entries = store_->evicted;
  for (const auto& [key, entry] : store_->entries) {
    if (entry.pins.is_pinned()) ++usage.pinned_entries;
  }
  return usage;
}

void MapBackend::for_each(std::span<const CacheEngineKey> keys,
                          std::function<void(size_t, const CacheEngineKey&)> work) {
  const auto shared = std::make_shared<decltype(work)>(std::move(work));
  for (size_t i = 0; i < keys.size(); ++i) {
    context().work_pool->submit([shared, i, key = keys[i]] { (*shared)(i, key); });
  }
}

// ---- what the interface asks for

void MapBackend::do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) {
  if (has(MapFault::kHoldsLock)) MutexLock lock(kept_mutex_);
  for_each(keys, [this, done = std::move(done)](size_t item, const CacheEngineKey& key) {
    bool is_held = false;
    {
      MutexLock lock(store_->mutex);
      is_held = store_->entries.contains(key);
    }
    done(item, is_held);
  });
}

void MapBackend::do_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
                        const TransferSpec& /*spec*/, PutDone done) {
  const size_t last = keys.empty() ? 0 : keys.size() - 1;
  for_each(keys, [this, last, objs = std::vector<MemoryObjPtr>(objs.begin(), objs.end()),
                  done = std::move(done)](size_t item, const CacheEngineKey& key) mutable {
    const MemoryObjPtr obj = std::move(objs[item]);
    const Status status = put(key, *obj);
    if (has(MapFault::kHoldsLock)) {
      MutexLock lock(kept_mutex_);
      return done(item, status);
    }
    const bool ends_twice = has(MapFault::kEndsTwice) && item == last;
    done(item, has(MapFault::kSwallowsError) ? Status() : status);
    if (ends_twice) done(item, {});  // by now the backend may be gone
  });
}

void MapBackend::do_get(std::span<const CacheEngineKey> keys, const GetOptions& /*options*/,
                        GetDone done) {
  if (has(MapFault::kDropsLateItems)) return hold_back(keys, std::move(done));
  const size_t last = keys.empty() ? 0 : keys.size() - 1;
  for_each(keys, [this, last, done = std::move(done)](size_t item, const CacheEngineKey& key) {
    if (has(MapFault::kNeverEnds) && item == last) return;
    Result<MemoryObjPtr> obj = get(key);
    if (has(MapFault::kMixesItems)) item = last - item;
    if (!has(MapFault::kLateWrite) || !obj || !*obj) return done(item, std::move(obj));
    const std::span<std::byte> bytes = (*obj)->bytes();
    done(item, std::move(obj));
    std::ranges::fill(bytes, std::byte{1});
  });
}

void MapBackend::hold_back(std::span<const CacheEngineKey> keys, GetDone done) {
  std::function<void()> before;
  {
    MutexLock lock(kept_mutex_);
    before = std::exchange(held_back_, [done = std::move(done), num_items = keys.size()] {
      for (size_t i = 0; i < num_items; ++i) done(i, MemoryObjPtr());
    });
  }
  if (before) before();
}

void MapBackend::do_remove(std::span<const CacheEngineKey> keys, bool force, RemoveDone done) {
  for_each(keys, [this, force, done = std::move(done)](size_t item, const CacheEngineKey& key) {
    done(item, remove_one(key, force));
  });
}

void MapBackend::do_pin(std::span<const CacheEngineKey> keys, PinOwner owner, PinOp op,
                        PinDone done) {
  for_each(keys, [this, owner, op, done = std::move(done)](size_t item, const CacheEngineKey& key) {
    done(item, pin_one(key, owner, op));
  });
}

// What was submitted runs, so there is nothing to wait for: on_closed is held until it has ended.
void MapBackend::do_close(std::function<void()> on_closed) { on_closed(); }

// ---- one key

Status MapBackend::put(const CacheEngineKey& key, const MemoryObj& obj) {
  MutexLock lock(store_->mutex);
  const auto old = store_->entries.find(key);
  if (old != store_->entries.end() && has(MapFault::kKeepsOldChunk)) return {};
  const size_t size_bytes = obj.bytes().size();
  if (has(MapFault::kSwallowsError) && size_bytes > 500'000) {
    return Status(StatusCode::kResourceExhausted, "too large for this one");
  }
  PinCounts pins;
  if (old != store_->entries.end()) {
    pins = old->second.pins;
    erase(old);
  }
  evict_for(size_bytes);
  MapStore::Entry& entry = store_->entries[key];
  entry.record = make_chunk_record(key, obj);
  entry.bytes.assign(obj.bytes().begin(), obj.bytes().end());
  entry.late = has(MapFault::kLateRead) ? obj.bytes().data() : nullptr;
  entry.pins = pins;
  entry.age = store_->oldest_first.insert(store_->oldest_first.end(), key);
  store_->bytes += size_bytes;
  return {};
}

Result<MemoryObjPtr> MapBackend::get(const CacheEngineKey& key) {
  ChunkRecord record;
  std::vector<std::byte> bytes;
  {
    MutexLock lock(store_->mutex);
    const auto found = store_->entries.find(key);
    if (found == store_->entries.end()) {
      if (has(MapFault::kMissIsError)) return make_error(StatusCode::kNotFound, "no such chunk");
      return MemoryObjPtr();
    }
    record = found->second.record;
    bytes = found->second.bytes;
    const std::byte* late = found->second.late;
    if (late != nullptr) bytes.assign(late, late + bytes.size());
  }
  KVFERRY_ASSIGN_OR_RETURN(MemoryObjPtr obj, allocate(bytes.size()));
  std::ranges::copy(bytes, obj->bytes().begin());
  KVFERRY_RETURN_IF_ERROR(apply_chunk_record(std::move(record), key, *obj));
  if (has(MapFault::kWrongSize)) obj->resize(bytes.size() - 1);
  if (has(MapFault::kLosesDigests)) obj->tile_digests.clear();
  if (has(MapFault::kServesCorrupt) && key.worker_id == 2) obj->bytes()[3] ^= std::byte{0x10};
  if (has(MapFault::kKeepsReference)) {
    MutexLock lock(kept_mutex_);
    kept_.push_back(obj);
  }
  return obj;
}

Result<MemoryObjPtr> MapBackend::allocate(size_t size_bytes) {
  if (has(MapFault::kOwnMemory)) return HeapObject::make(size_bytes);
  for (;;) {
    Result<MemoryObjPtr> obj = context().allocator->allocate(size_bytes);
    if (obj || !has(MapFault::kHangsWithoutMemory)) return obj;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

bool MapBackend::remove_one(const CacheEngineKey& key, bool force) {
  MutexLock lock(store_->mutex);
  const auto found = store_->entries.find(key);
  if (found == store_->entries.end()) return false;
  const bool is_pinned = found->second.pins.is_pinned() && !has(MapFault::kRemovesPinned);
  if (is_pinned && !force) return false;
  if (!has(MapFault::kKeepsRemoved)) erase(found);
  return true;
}

bool MapBackend::pin_one(const CacheEngineKey& key, PinOwner owner, PinOp op) {
  if (has(MapFault::kUnpinsForAnybody)) owner = 0;
  MutexLock lock(store_->mutex);
  const auto found = store_->entries.find(key);
  if (found == store_->entries.end()) return false;
  if (op == PinOp::kUnpin) return found->second.pins.unpin(owner);
  found->second.pins.pin(owner);
  return true;
}

void MapBackend::evict_for(size_t bytes) {
  if (has(MapFault::kForgetsToEvict)) return;
  auto oldest = store_->oldest_first.begin();
  while (store_->bytes + bytes > capacity_bytes_ && oldest != store_->oldest_first.end()) {
    const auto entry = store_->entries.find(*oldest++);
    if (entry->second.pins.is_pinned()) continue;
    erase(entry);
    ++store_->evicted;
  }
}

void MapBackend::erase(std::map<CacheEngineKey, MapStore::Entry>::iterator entry) {
  store_->bytes -= entry->second.bytes.size();
  store_->oldest_first.erase(entry->second.age);
  store_->entries.erase(entry);
}

}  // namespace kvferry
