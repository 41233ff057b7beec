#pragma once

#include <optional>

#include "backends/local_disk/disk_store.h"
#include "backends/local_disk/io/aligned_buffer.h"
#include "kvferry/chunk_record.h"

namespace kvferry {

/// Writes one chunk: to a temporary file, synced if the store is kSync, then renamed, then known to
/// the catalog. Until then nobody can see it, and whatever fails leaves nothing behind.
class DiskPut final : public DiskItem, public std::enable_shared_from_this<DiskPut> {
 public:
  using Done = std::function<void(Status)>;

  /// `done` is not called when this fails.
  /// Errors: those of encode_chunk_record_header().
  static Result<std::shared_ptr<DiskPut>> create(std::shared_ptr<DiskStore> store,
                                                 const CacheEngineKey& key, MemoryObjPtr obj,
                                                 Done done);

  Priority priority() const override { return kPut; }
  size_t bytes_needed() const override { return file_->disk_bytes; }
  void start() override;
  void refuse(Status status) override { done_(std::move(status)); }

 private:
  DiskPut(std::shared_ptr<DiskStore> store, const CacheEngineKey& key, MemoryObjPtr obj, Done done);

  BlockTransfer transfer();

  // On the work pool, one after the other.
  void write();
  Status open_temporary();
  void publish(Status written);
  Status sync_and_rename();
  void abandon(const Status& status);
  bool try_again(const Status& status);
  void end(Status status);

  const std::shared_ptr<DiskStore> store_;
  const CacheEngineKey key_;
  MemoryObjPtr obj_;
  Done done_;
  std::vector<std::byte> header_;
  ChunkFilePtr file_;
  size_t reserved_bytes_ = 0;
  std::optional<AlignedBuffer> frame_;  // what is not the object's: header, gap, padded last block
  OpenFile output_;
  bool has_made_room_ = false;  // on a disk that was fuller than the store knew
};

}  // namespace kvferry
