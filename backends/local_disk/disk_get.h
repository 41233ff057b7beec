#pragma once

#include <optional>

#include "backends/local_disk/disk_store.h"
#include "backends/local_disk/io/aligned_buffer.h"

namespace kvferry {

/// Reads one chunk of the catalog into an object of the allocator. Its file stays as it is until
/// this has ended, removed meanwhile or not.
class DiskGet final : public DiskItem, public std::enable_shared_from_this<DiskGet> {
 public:
  using Done = std::function<void(Result<MemoryObjPtr>)>;

  /// `file` is what DiskCatalog::begin_read() gave.
  DiskGet(std::shared_ptr<DiskStore> store, const CacheEngineKey& key, ChunkFilePtr file,
          const GetOptions& options, Done done);

  Priority priority() const override {
    return options_.intent == GetIntent::kForeground ? kForeground : kPrefetch;
  }
  void start() override;
  void refuse(Status status) override;

 private:
  BlockTransfer transfer();

  // On the work pool, but taken() and finish() anywhere.
  void read();
  void taken(const Status& status);
  Status fill_object();
  void finish(Result<MemoryObjPtr> outcome);
  void finish_failed(const Status& status);
  void clean_up();

  const std::shared_ptr<DiskStore> store_;
  const CacheEngineKey key_;
  const ChunkFilePtr file_;
  const GetOptions options_;
  Done done_;
  MemoryObjPtr obj_;
  std::optional<AlignedBuffer> frame_;  // header and gap, then the last block of the payload
  OpenFile input_;
  Status bad_file_;  // why the file goes; OK: it stays
};

}  // namespace kvferry
