#include "backends/local_disk/store_scan.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "backends/local_disk/io/aligned_buffer.h"
#include "kvferry/chunk_record.h"
#include "kvferry/mutex.h"

namespace kvferry {
namespace {

constexpr size_t kFirstReadBytes = size_t{16} << 10;
constexpr size_t kMaxHelpers = 16;

/// Reads from the file's start until `bytes` is full or the file ends.
Result<size_t> read_front(FileSystem& files, int fd, std::span<std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    KVFERRY_ASSIGN_OR_RETURN(const size_t count, files.read_at(fd, bytes.subspan(done), done));
    if (count == 0) break;
    done += count;
    if (done % kChunkPayloadAlignment != 0) break;  // the end, and no place for direct I/O
  }
  return done;
}

struct ReadRecord {
  ChunkRecord record;
  size_t header_bytes = 0;
};

Result<ReadRecord> decode(std::span<const std::byte> bytes) {
  KVFERRY_ASSIGN_OR_RETURN(const size_t header_bytes, chunk_record_header_bytes(bytes));
  KVFERRY_ASSIGN_OR_RETURN(ChunkRecord record, decode_chunk_record_header(bytes));
  return ReadRecord{std::move(record), header_bytes};
}

Result<ReadRecord> read_record(FileSystem& files, int fd) {
  const AlignedBuffer first(kFirstReadBytes);
  KVFERRY_ASSIGN_OR_RETURN(const size_t count, read_front(files, fd, first.bytes()));
  const auto bytes = first.bytes().first(count);
  KVFERRY_ASSIGN_OR_RETURN(const size_t header_bytes, chunk_record_header_bytes(bytes));
  if (header_bytes <= kFirstReadBytes) return decode(bytes);
  const AlignedBuffer whole(header_bytes);
  KVFERRY_ASSIGN_OR_RETURN(const size_t whole_count, read_front(files, fd, whole.bytes()));
  return decode(whole.bytes().first(whole_count));
}

Status torn(std::string what) { return Status(StatusCode::kDataLoss, std::move(what)); }

Result<FoundChunk> read_chunk(FileSystem& files, const std::string& path, bool direct,
                              const ChunkFileName& name) {
  KVFERRY_ASSIGN_OR_RETURN(const OpenFile file, OpenFile::open(files, path, {.direct = direct}));
  KVFERRY_ASSIGN_OR_RETURN(const FileInfo info, files.info(file.fd()));
  KVFERRY_ASSIGN_OR_RETURN(ReadRecord read, read_record(files, file.fd()));
  ChunkRecord& record = read.record;
  if (record.key.digest() != name.key_digest || record.generation != name.generation) {
    return make_error(torn("is of another chunk than its name says"));
  }
  FoundChunk found;
  found.file = std::make_shared<ChunkFile>();
  found.file->name = name;
  found.file->payload_bytes = static_cast<size_t>(record.layout.size_bytes);
  found.file->payload_offset = chunk_payload_offset(read.header_bytes);
  found.file->chunk_digest = record.chunk_digest;
  const size_t size = found.file->payload_offset + round_up_to_block(found.file->payload_bytes);
  if (info.size_bytes != size) {
    return make_error(torn("has " + std::to_string(info.size_bytes) + " bytes in place of " +
                           std::to_string(size)));
  }
  found.file->disk_bytes = std::max<size_t>(size, info.allocated_bytes);
  found.mtime_ns = info.mtime_ns;
  found.key = std::move(record.key);
  return found;
}

/// Shards are taken one after another by all threads that help.
class Scan {
 public:
  Scan(FileSystem& files, const StorePaths& paths, bool direct)
      : files_(files), paths_(paths), direct_(direct) {}

  void help() {
    for (;;) {
      const size_t shard = next_shard_.fetch_add(1);
      if (shard >= kNumShards) return;
      Status status;
      try {
        status = scan_shard(shard);
      } catch (const std::bad_alloc&) {
        status = Status(StatusCode::kResourceExhausted, "no memory to read the store's files");
      }
      MutexLock lock(mutex_);
      if (status_.is_ok()) status_ = std::move(status);
      if (--open_shards_ == 0) all_done_.notify_all();
    }
  }

  Result<StoreScan> wait() {
    MutexLock lock(mutex_);
    while (open_shards_ > 0) all_done_.wait(mutex_);
    KVFERRY_RETURN_IF_ERROR(status_);
    std::ranges::sort(found_.chunks, [](const FoundChunk& a, const FoundChunk& b) {
      return std::pair(a.mtime_ns, a.file->name.generation) <
             std::pair(b.mtime_ns, b.file->name.generation);
    });
    return std::move(found_);
  }

 private:
  Status scan_shard(size_t shard) {
    KVFERRY_ASSIGN_OR_RETURN(const auto entries, files_.list(paths_.shard(shard)));
    for (const DirectoryEntry& entry : entries) KVFERRY_RETURN_IF_ERROR(look_at(shard, entry));
    return {};
  }

  Status look_at(size_t shard, const DirectoryEntry& entry) {
    std::string_view text = entry.name;
    const bool is_temporary = text.ends_with(kTemporarySuffix);
    if (is_temporary) text.remove_suffix(kTemporarySuffix.size());
    const auto name = ChunkFileName::parse(text);
    if (!name || !entry.is_file || StorePaths::shard_of(*name) != shard) {
      MutexLock lock(mutex_);
      ++found_.foreign;
      found_.foreign_example = paths_.shard(shard) + "/" + entry.name;
      return {};
    }
    {
      MutexLock lock(mutex_);
      found_.last_generation = std::max(found_.last_generation, name->generation);
    }
    const std::string path = paths_.shard(shard) + "/" + entry.name;
    if (is_temporary) return remove(path, &StoreScan::temporaries);
    auto chunk = read_chunk(files_, path, direct_, *name);
    if (chunk) {
      MutexLock lock(mutex_);
      found_.chunks.push_back(std::move(chunk).value());
      return {};
    }
    const Status& error = chunk.error();
    if (error.code() == StatusCode::kUnimplemented) return remove(path, &StoreScan::other_version);
    if (error.code() == StatusCode::kDataLoss || error.native_code() == EIO) {
      return remove(path, &StoreScan::torn);
    }
    return error.with_context(path);
  }

  Status remove(const std::string& path, uint64_t StoreScan::*count) {
    size_t bytes = 0;
    if (auto file = OpenFile::open(files_, path, {}); file) {
      if (const auto info = files_.info(file->fd()); info) bytes = info->allocated_bytes;
    }
    const bool is_gone = files_.unlink(path).is_ok();
    MutexLock lock(mutex_);
    ++(found_.*count);
    if (!is_gone) found_.stuck_bytes += bytes;
    return {};
  }

  FileSystem& files_;
  const StorePaths& paths_;
  const bool direct_;
  std::atomic<size_t> next_shard_{0};

  Mutex mutex_;
  CondVar all_done_;
  size_t open_shards_ KVFERRY_GUARDED_BY(mutex_) = kNumShards;
  Status status_ KVFERRY_GUARDED_BY(mutex_);
  StoreScan found_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace

Result<StoreScan> scan_store(FileSystem& files, const StorePaths& paths, bool direct,
                             WorkPool& pool) {
  // Helpers that come late find nothing left to do, and nobody waits for them: they share it.
  const auto scan = std::make_shared<Scan>(files, paths, direct);
  for (size_t i = 0; i < kMaxHelpers; ++i) {
    pool.submit([scan] { scan->help(); });
  }
  scan->help();
  return scan->wait();
}

}  // namespace kvferry
