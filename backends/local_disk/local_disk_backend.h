#pragma once

#include "backends/local_disk/disk_store.h"

namespace kvferry {

/// The six calls of a StorageBackend over a DiskStore. Contains, pins and misses end inside their
/// call.
class LocalDiskBackend final : public StorageBackend {
 public:
  explicit LocalDiskBackend(std::shared_ptr<DiskStore> store);

  BackendUsage usage() const override { return store_->catalog().usage(); }

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
  const std::shared_ptr<DiskStore> store_;
};

}  // namespace kvferry
