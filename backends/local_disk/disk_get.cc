#include "backends/local_disk/disk_get.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "kvferry/chunk_record.h"

namespace kvferry {
namespace {

size_t whole_blocks(size_t bytes) {
  return bytes / kChunkPayloadAlignment * kChunkPayloadAlignment;
}

}  // namespace

DiskGet::DiskGet(std::shared_ptr<DiskStore> store, const CacheEngineKey& key, ChunkFilePtr file,
                 const GetOptions& options, Done done)
    : store_(std::move(store)),
      key_(key),
      file_(std::move(file)),
      options_(options),
      done_(std::move(done)) {}

void DiskGet::refuse(Status status) {
  store_->catalog().end_read(*file_);
  std::exchange(done_, nullptr)(tl::unexpected(std::move(status)));
  store_->look_for_work();
}

void DiskGet::start() {
  if (options_.deadline < store_->context().executor->clock().now()) {
    return finish(
        tl::unexpected(Status(StatusCode::kDeadlineExceeded, "its turn came after its deadline")));
  }
  store_->run_blocking([self = shared_from_this()] { self->read(); });
}

BlockTransfer DiskGet::transfer() {
  const size_t front = file_->payload_offset;
  const size_t whole = whole_blocks(file_->payload_bytes);
  frame_.emplace(front + (file_->payload_bytes - whole));
  const std::span<std::byte> frame = frame_->bytes();
  BlockTransfer transfer{.fd = input_.fd(), .is_write = false, .pieces = {{0, frame.first(front)}}};
  if (whole > 0) transfer.pieces.push_back({front, obj_->bytes().first(whole)});
  if (whole < file_->payload_bytes) {
    transfer.pieces.push_back({front + whole, frame.subspan(front)});
  }
  return transfer;
}

void DiskGet::read() {
  auto obj = store_->context().allocator->allocate(file_->payload_bytes);
  if (!obj) return finish(std::move(obj));
  obj_ = std::move(obj).value();
  auto input = OpenFile::open(store_->files(), store_->paths().chunk(file_->name),
                              {.direct = store_->is_direct(obj_->bytes().data())});
  if (!input) return finish_failed(input.error());
  input_ = std::move(input).value();
  store_->io().start(transfer(),
                     [self = shared_from_this()](const Status& status) { self->taken(status); });
}

void DiskGet::taken(const Status& status) {
  if (!status.is_ok()) return finish_failed(status);
  if (const Status filled = fill_object(); !filled.is_ok()) return finish_failed(filled);
  finish(std::move(obj_));
}

Status DiskGet::fill_object() {
  const std::span<std::byte> frame = frame_->bytes();
  KVFERRY_ASSIGN_OR_RETURN(ChunkRecord record,
                           decode_chunk_record_header(frame.first(file_->payload_offset)));
  KVFERRY_RETURN_IF_ERROR(apply_chunk_record(std::move(record), key_, *obj_));
  const size_t whole = whole_blocks(file_->payload_bytes);
  std::ranges::copy(frame.subspan(file_->payload_offset, file_->payload_bytes - whole),
                    obj_->bytes().begin() + static_cast<ptrdiff_t>(whole));
  return {};
}

void DiskGet::finish_failed(const Status& status) {
  const bool is_torn = status.code() == StatusCode::kDataLoss;
  const bool is_miss =
      status.code() == StatusCode::kUnimplemented || status.code() == StatusCode::kNotFound;
  // Nobody finds it any more when this get has ended; it goes from the disk after that.
  if (is_torn || is_miss || status.native_code() == EIO) {
    if (store_->catalog().take_file(key_, *file_)) bad_file_ = status;
  }
  if (is_miss) return finish(MemoryObjPtr());
  if (!is_torn) store_->count("read_failures");
  finish(tl::unexpected(status.with_context("sink " + store_->context().name)));
}

void DiskGet::finish(Result<MemoryObjPtr> outcome) {
  obj_.reset();
  frame_.reset();
  std::exchange(done_, nullptr)(std::move(outcome));
  // The last close of a file that was removed meanwhile frees its blocks, which takes time.
  store_->run_blocking([self = shared_from_this()] { self->clean_up(); });
}

void DiskGet::clean_up() {
  input_.reset();
  if (!bad_file_.is_ok()) {
    const bool is_eio = bad_file_.native_code() == EIO;
    store_->remove_bad_file(*file_, is_eio ? "unreadable_files" : "torn_files", bad_file_);
  }
  store_->catalog().end_read(*file_);
  store_->item_ended(priority());
}

}  // namespace kvferry
