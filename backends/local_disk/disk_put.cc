#include "backends/local_disk/disk_put.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace kvferry {

DiskPut::DiskPut(std::shared_ptr<DiskStore> store, const CacheEngineKey& key, MemoryObjPtr obj,
                 Done done)
    : store_(std::move(store)),
      key_(key),
      obj_(std::move(obj)),
      done_(std::move(done)),
      file_(std::make_shared<ChunkFile>()) {}

Result<std::shared_ptr<DiskPut>> DiskPut::create(std::shared_ptr<DiskStore> store,
                                                 const CacheEngineKey& key, MemoryObjPtr obj,
                                                 Done done) {
  std::shared_ptr<DiskPut> put(new DiskPut(std::move(store), key, std::move(obj), std::move(done)));
  ChunkFile& file = *put->file_;
  file.name = {key.digest(), put->store_->next_generation()};
  KVFERRY_ASSIGN_OR_RETURN(put->header_, encode_chunk_record_header(make_chunk_record(
                                             key, *put->obj_, file.name.generation)));
  file.payload_offset = chunk_payload_offset(put->header_.size());
  file.payload_bytes = put->obj_->bytes().size();
  file.chunk_digest = put->obj_->chunk_digest;
  file.disk_bytes = file.payload_offset + round_up_to_block(file.payload_bytes);
  put->reserved_bytes_ = file.disk_bytes;
  return put;
}

void DiskPut::start() {
  store_->run_blocking([self = shared_from_this()] { self->write(); });
}

Status DiskPut::open_temporary() {
  const OpenOptions options = {
      .write = true, .create = true, .direct = store_->is_direct(obj_->bytes().data())};
  KVFERRY_ASSIGN_OR_RETURN(
      output_, OpenFile::open(store_->files(), store_->paths().temporary(file_->name), options));
  return store_->files().preallocate(output_.fd(), reserved_bytes_);
}

BlockTransfer DiskPut::transfer() {
  const std::span<std::byte> payload = obj_->bytes();
  const size_t whole = payload.size() / kChunkPayloadAlignment * kChunkPayloadAlignment;
  const size_t front = file_->payload_offset;
  frame_.emplace(front + (payload.size() - whole));
  const std::span<std::byte> frame = frame_->bytes();
  std::ranges::copy(header_, frame.begin());
  BlockTransfer transfer{.fd = output_.fd(), .is_write = true, .pieces = {{0, frame.first(front)}}};
  if (whole > 0) transfer.pieces.push_back({front, payload.first(whole)});
  if (whole < payload.size()) {
    std::ranges::copy(payload.subspan(whole), frame.begin() + static_cast<ptrdiff_t>(front));
    transfer.pieces.push_back({front + whole, frame.subspan(front)});
  }
  return transfer;
}

void DiskPut::write() {
  if (Status status = open_temporary(); !status.is_ok()) return abandon(status);
  store_->io().start(transfer(), [self = shared_from_this()](Status status) {
    self->store_->run_blocking([self, status = std::move(status)] { self->publish(status); });
  });
}

Status DiskPut::sync_and_rename() {
  FileSystem& files = store_->files();
  const StorePaths& paths = store_->paths();
  const bool is_sync = store_->durability() == Durability::kSync;
  if (is_sync) KVFERRY_RETURN_IF_ERROR(files.sync_file(output_.fd()));
  if (const auto info = files.info(output_.fd()); info) {
    file_->disk_bytes = std::max<size_t>(reserved_bytes_, info->allocated_bytes);
  }
  output_.reset();
  KVFERRY_RETURN_IF_ERROR(files.rename(paths.temporary(file_->name), paths.chunk(file_->name)));
  if (is_sync) KVFERRY_RETURN_IF_ERROR(files.sync_directory(paths.shard(file_->name)));
  file_->is_synced = is_sync;
  return {};
}

void DiskPut::publish(Status written) {
  if (written.is_ok()) written = sync_and_rename();
  if (!written.is_ok()) return abandon(written);
  const ChunkFilePtr replaced = store_->catalog().commit(key_, file_, reserved_bytes_);
  if (store_->durability() == Durability::kAsync) store_->note_unsynced(key_, file_);
  // Only now: with kSync the new one is known to be there for good.
  if (replaced != nullptr) store_->unlink(*replaced);
  end({});
}

// The file may have either name: what failed may have been the rename, or the sync after it.
void DiskPut::abandon(const Status& status) {
  output_.reset();
  bool is_gone = true;
  for (const std::string& path :
       {store_->paths().temporary(file_->name), store_->paths().chunk(file_->name)}) {
    const Status unlinked = store_->files().unlink(path);
    is_gone = is_gone && (unlinked.is_ok() || unlinked.code() == StatusCode::kNotFound);
  }
  if (!is_gone) {
    store_->catalog().release_stuck(reserved_bytes_);
    store_->count("unlink_failures");
    return end(status);
  }
  if (try_again(status)) return;
  store_->catalog().release(reserved_bytes_);
  end(status);
}

// A disk that others fill too: the store gives up what it holds in favour of what is new, as it
// would at its own bound, but once only, since others may take what is freed.
bool DiskPut::try_again(const Status& status) {
  const bool is_full = status.native_code() == ENOSPC || status.native_code() == EDQUOT;
  if (!is_full) return false;
  store_->count("disk_full");
  if (std::exchange(has_made_room_, true)) return false;
  std::vector<ChunkFilePtr> victims;
  store_->catalog().evict_bytes(reserved_bytes_, victims);
  if (victims.empty()) return false;
  for (const ChunkFilePtr& victim : victims) store_->unlink(*victim);
  write();
  return true;
}

void DiskPut::end(Status status) {
  if (!status.is_ok()) {
    store_->count("write_failures");
    status = status.with_context("sink " + store_->context().name);
  }
  frame_.reset();
  obj_.reset();
  std::exchange(done_, nullptr)(std::move(status));
  store_->item_ended(kPut);
}

}  // namespace kvferry
