#include "backends/local_cpu/local_cpu_backend.h"

#include <algorithm>
#include <array>

namespace kvferry {
namespace {

constexpr BackendTraits kTraits = {
    .retains = true, .pins = true, .persists = false, .is_memory = true};

/// Nobody else would lose it, and its memory comes back at once.
bool is_ours_alone(const ChunkIndex<MemoryObjPtr>::Entry& entry) {
  return entry.value->ref_count() == 1 && entry.value->pin_count() == 0;
}

}  // namespace

Result<std::unique_ptr<StorageBackend>> make_local_cpu_backend(BackendContext context,
                                                               const LocalCpuOptions& options) {
  if (options.max_bytes == 0) {
    return make_error(StatusCode::kInvalidArgument,
                      "local_cpu keeps nothing in 0 bytes; set max_local_cpu_size");
  }
  return std::make_unique<LocalCpuBackend>(std::move(context), options);
}

LocalCpuBackend::LocalCpuBackend(BackendContext context, const LocalCpuOptions& options)
    : StorageBackend(std::move(context), kTraits),
      index_(options.policy, options.max_bytes, options.typical_chunk_bytes) {
  this->context().allocator->set_reclaimer([this](size_t count) { return reclaim(count); });
}

LocalCpuBackend::~LocalCpuBackend() { context().allocator->set_reclaimer({}); }

BackendUsage LocalCpuBackend::usage() const {
  MutexLock lock(mutex_);
  BackendUsage usage;
  usage.entries = index_.size();
  usage.bytes = index_.bytes();
  usage.capacity_bytes = index_.max_bytes();
  usage.evicted_entries = index_.evicted();
  index_.for_each([&](const CacheEngineKey&, const Index::Entry& entry) {
    if (entry.pins.is_pinned()) ++usage.pinned_entries;
  });
  return usage;
}

void LocalCpuBackend::do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) {
  // Batches under one lock, short enough that a get does not wait for thousands of keys.
  constexpr size_t kBatch = 64;
  std::array<bool, kBatch> held{};
  for (size_t begin = 0; begin < keys.size(); begin += kBatch) {
    const size_t end = std::min(begin + kBatch, keys.size());
    {
      MutexLock lock(mutex_);
      for (size_t i = begin; i < end; ++i) held.at(i - begin) = index_.find(keys[i]) != nullptr;
    }
    for (size_t i = begin; i < end; ++i) done(i, held.at(i - begin));
  }
}

Status LocalCpuBackend::put(const CacheEngineKey& key, const MemoryObjPtr& obj) {
  const size_t bytes = obj->capacity().size();  // what it takes out of the pool
  std::vector<MemoryObjPtr> dropped;            // after the lock: its end calls the allocator
  MutexLock lock(mutex_);
  if (Index::Entry* entry = index_.find(key); entry != nullptr) {
    // Equal keys are equal chunks, and this one is here. Its readers keep what they have.
    index_.touch(*entry);
    if (entry->value->chunk_digest == obj->chunk_digest) return {};
    if (entry->bytes == bytes) {
      dropped.push_back(std::exchange(entry->value, obj));
      return {};
    }
    dropped.push_back(index_.erase(*entry));
  }
  while (!index_.has_room(bytes)) {
    if (!index_.evict(is_ours_alone, [&](const CacheEngineKey&, MemoryObjPtr old) {
          dropped.push_back(std::move(old));
        })) {
      return Status(StatusCode::kResourceExhausted,
                    "local_cpu is full of chunks that are pinned or in use (" +
                        std::to_string(index_.bytes()) + " of " +
                        std::to_string(index_.max_bytes()) + " bytes); raise max_local_cpu_size");
    }
  }
  index_.insert(key, bytes, obj);
  return {};
}

void LocalCpuBackend::do_put(std::span<const CacheEngineKey> keys,
                             std::span<const MemoryObjPtr> objs, const TransferSpec& /*spec*/,
                             PutDone done) {
  for (size_t i = 0; i < keys.size(); ++i) done(i, put(keys[i], objs[i]));
}

MemoryObjPtr LocalCpuBackend::find(const CacheEngineKey& key) {
  MutexLock lock(mutex_);
  Index::Entry* entry = index_.find(key);
  if (entry == nullptr) return MemoryObjPtr();
  index_.touch(*entry);
  return entry->value;
}

void LocalCpuBackend::do_get(std::span<const CacheEngineKey> keys, const GetOptions& /*options*/,
                             GetDone done) {
  for (size_t i = 0; i < keys.size(); ++i) done(i, find(keys[i]));
}

bool LocalCpuBackend::remove_one(const CacheEngineKey& key, bool force) {
  MemoryObjPtr dropped;
  MutexLock lock(mutex_);
  Index::Entry* entry = index_.find(key);
  if (entry == nullptr || (entry->pins.is_pinned() && !force)) return false;
  dropped = index_.erase(*entry);
  return true;
}

void LocalCpuBackend::do_remove(std::span<const CacheEngineKey> keys, bool force, RemoveDone done) {
  for (size_t i = 0; i < keys.size(); ++i) done(i, remove_one(keys[i], force));
}

bool LocalCpuBackend::pin_one(const CacheEngineKey& key, PinOwner owner, PinOp op) {
  MutexLock lock(mutex_);
  Index::Entry* entry = index_.find(key);
  if (entry == nullptr) return false;
  if (op == PinOp::kUnpin) return entry->pins.unpin(owner);
  entry->pins.pin(owner);
  return true;
}

void LocalCpuBackend::do_pin(std::span<const CacheEngineKey> keys, PinOwner owner, PinOp op,
                             PinDone done) {
  for (size_t i = 0; i < keys.size(); ++i) done(i, pin_one(keys[i], owner, op));
}

size_t LocalCpuBackend::reclaim(size_t num_objects) {
  std::vector<MemoryObjPtr> dropped;
  MutexLock lock(mutex_);
  while (dropped.size() < num_objects &&
         index_.evict(is_ours_alone, [&](const CacheEngineKey&, MemoryObjPtr old) {
           dropped.push_back(std::move(old));
         })) {
  }
  return dropped.size();
}

void LocalCpuBackend::do_close(std::function<void()> on_closed) {
  context().allocator->set_reclaimer({});
  std::vector<MemoryObjPtr> dropped;
  {
    MutexLock lock(mutex_);
    dropped = index_.take_all();
  }
  dropped.clear();
  on_closed();
}

}  // namespace kvferry
