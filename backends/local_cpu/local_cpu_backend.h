#pragma once

#include "backends/local_cpu/factory.h"
#include "core/chunk_index.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// The hot cache: an index over objects that stay in the runtime's memory.
///
/// A put keeps a reference, a get gives one. What is pinned, or referenced by anybody else, is not
/// evicted: it would free nothing. Every item ends inside its call.
class LocalCpuBackend final : public StorageBackend {
 public:
  LocalCpuBackend(BackendContext context, const LocalCpuOptions& options);
  ~LocalCpuBackend() override;

  BackendUsage usage() const override;

 protected:
  void do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) override;
  void do_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
              const TransferSpec& spec, PutDone done) override;
  void do_get(std::span<const CacheEngineKey> keys, const GetOptions& options,
              GetDone done) override;
  void do_remove(std::span<const CacheEngineKey> keys, bool force, RemoveDone done) override;
  void do_pin(std::span<const CacheEngineKey> keys, PinOwner owner, PinOp op,
              PinDone done) override;
  void do_close(std::function<void()> on_closed) override;

 private:
  using Index = ChunkIndex<MemoryObjPtr>;

  Status put(const CacheEngineKey& key, const MemoryObjPtr& obj) KVFERRY_EXCLUDES(mutex_);
  MemoryObjPtr find(const CacheEngineKey& key) KVFERRY_EXCLUDES(mutex_);
  bool remove_one(const CacheEngineKey& key, bool force) KVFERRY_EXCLUDES(mutex_);
  bool pin_one(const CacheEngineKey& key, PinOwner owner, PinOp op) KVFERRY_EXCLUDES(mutex_);
  /// Evicts so many; what they held is dropped without the lock, since that calls the allocator.
  size_t reclaim(size_t num_objects) KVFERRY_EXCLUDES(mutex_);

  mutable Mutex mutex_;
  Index index_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
