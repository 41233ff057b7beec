#include "backends/local_disk/open_store.h"

#include <algorithm>
#include <string>
#include <utility>

#include "backends/local_disk/io/aligned_buffer.h"
#include "backends/local_disk/local_disk_backend.h"
#include "backends/local_disk/store_scan.h"

namespace kvferry {
namespace {

constexpr std::string_view kIdentity = "kvferry local_disk store, layout 1\n";

using MakeRing = std::function<Result<std::unique_ptr<BlockIo>>(const BackendContext&)>;

Status invalid(const std::string& what) {
  return Status(StatusCode::kInvalidArgument, "local_disk: " + what);
}

Status check_options(const LocalDiskOptions& options) {
  if (options.path.empty()) return invalid("path is empty; set local_disk to a directory");
  if (options.max_bytes == 0) {
    return invalid("max_bytes is 0, which holds nothing; set max_local_disk_size");
  }
  if (options.queue_depth == 0) return invalid("queue_depth is 0; set it to 1 or more");
  if (options.max_waiting == 0) return invalid("max_waiting is 0; set it to 1 or more");
  if (options.max_unsynced_bytes == 0) return invalid("max_unsynced_bytes is 0; set it above 0");
  return {};
}

void log(const BackendContext& context, LogLevel level, const std::string& line) {
  if (context.logger != nullptr) context.logger->log(level, line + " sink=" + context.name);
}

std::string parent_of(const std::string& path) {
  const size_t end = path.find_last_of('/');
  if (end == std::string::npos) return ".";
  return end == 0 ? "/" : path.substr(0, end);
}

/// Those that it makes outlive a power cut.
Status make_directories(FileSystem& files, const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    KVFERRY_ASSIGN_OR_RETURN(const bool is_new, files.make_directory(part));
    if (is_new) KVFERRY_RETURN_IF_ERROR(files.sync_directory(parent_of(part)));
    if (end == std::string::npos) return {};
  }
}

/// Locks the directory, and sees that it is of this layout. Empty: it is new, or the power went
/// before it could be written.
Result<OpenFile> take_ownership(FileSystem& files, const StorePaths& paths) {
  KVFERRY_ASSIGN_OR_RETURN(const int fd, files.lock(paths.identity()));
  OpenFile lock(files, fd);
  AlignedBuffer found(kIdentity.size());
  KVFERRY_ASSIGN_OR_RETURN(const size_t count, files.read_at(fd, found.bytes(), 0));
  const std::string_view text(reinterpret_cast<const char*>(found.bytes().data()), count);
  if (text == kIdentity) return lock;
  if (text.find_first_not_of('\0') != std::string_view::npos) {
    return make_error(StatusCode::kFailedPrecondition,
                      paths.identity() + " is of another layout than this version of kvferry " +
                          "reads; give the store another directory");
  }
  KVFERRY_ASSIGN_OR_RETURN(const size_t written,
                           files.write_at(fd, std::as_bytes(std::span(kIdentity)), 0));
  if (written != kIdentity.size()) {
    return make_error(StatusCode::kResourceExhausted, "cannot write " + paths.identity());
  }
  KVFERRY_RETURN_IF_ERROR(files.sync_file(fd));
  return lock;
}

Status make_shards(FileSystem& files, const StorePaths& paths) {
  for (size_t i = 0; i < kNumShards; ++i) {
    const auto made = files.make_directory(paths.shard(i));
    if (!made) return made.error();
  }
  return files.sync_directory(paths.root());
}

/// By a read of the identity file: some file systems refuse only that.
Result<bool> supports_direct(FileSystem& files, const StorePaths& paths) {
  const auto file = OpenFile::open(files, paths.identity(), {.direct = true});
  if (!file) {
    if (file.error().code() == StatusCode::kInvalidArgument) return false;
    return make_error(file.error());
  }
  const AlignedBuffer block(1);
  return files.read_at(file->fd(), block.bytes(), 0).has_value();
}

Result<std::unique_ptr<BlockIo>> choose_io(const BackendContext& context,
                                           const LocalDiskOptions& options, FileSystem& files,
                                           bool direct, const MakeRing& make_ring) {
  if (!direct && options.io == DiskIo::kIoUring) {
    return make_error(StatusCode::kFailedPrecondition,
                      "the file system of " + options.path +
                          " refuses O_DIRECT, which io_uring needs here; set disk_io to auto, or "
                          "local_disk to another file system");
  }
  if (!direct) {
    log(context, LogLevel::kWarn,
        "disk_io engine=pread direct=no hint=\"the file system of " + options.path +
            " refuses O_DIRECT: bytes go through the page cache\"");
    return make_blocking_io(files);
  }
  if (options.io == DiskIo::kPread) return make_blocking_io(files);
  auto ring = make_ring(context);
  if (ring || options.io == DiskIo::kIoUring) return ring;
  log(context, LogLevel::kWarn,
      "disk_io engine=pread direct=yes error=\"" + ring.error().to_string() + "\"");
  return make_blocking_io(files);
}

/// What is beyond a bound that is smaller than it was goes, oldest first.
void fill_catalog(DiskStore& store, const StoreScan& scan) {
  size_t bytes = scan.stuck_bytes;
  for (const FoundChunk& chunk : scan.chunks) bytes += chunk.file->disk_bytes;
  store.catalog().add_stuck(scan.stuck_bytes);
  uint64_t num_shed = 0;
  for (const FoundChunk& chunk : scan.chunks) {
    ChunkFilePtr unwanted;
    if (bytes > store.catalog().max_bytes()) {
      bytes -= chunk.file->disk_bytes;
      store.catalog().add_dying(*chunk.file);
      unwanted = chunk.file;
      ++num_shed;
    } else {
      unwanted = store.catalog().insert_found(chunk.key, chunk.file);
    }
    if (unwanted != nullptr) store.unlink(*unwanted);
  }
  const BackendContext& context = store.context();
  const BackendUsage usage = store.catalog().usage();
  store.count("rebuilt_chunks", usage.entries);
  store.count("shed_chunks", num_shed);
  store.count("torn_files", scan.torn);
  store.count("other_version_files", scan.other_version);
  store.count("dropped_temporaries", scan.temporaries);
  store.count("foreign_files", scan.foreign);
  log(context, LogLevel::kInfo,
      "disk_store_open path=" + store.paths().root() + " chunks=" + std::to_string(usage.entries) +
          " bytes=" + std::to_string(usage.bytes) + " shed=" + std::to_string(num_shed) + " torn=" +
          std::to_string(scan.torn) + " other_version=" + std::to_string(scan.other_version) +
          " temporaries=" + std::to_string(scan.temporaries));
  if (scan.foreign > 0) {
    log(context, LogLevel::kWarn,
        "disk_foreign_files count=" + std::to_string(scan.foreign) + " example=\"" +
            scan.foreign_example + "\" hint=\"left alone, and not counted in the bound\"");
  }
}

}  // namespace

Result<std::shared_ptr<DiskStore>> open_disk_store(const BackendContext& context,
                                                   const LocalDiskOptions& options,
                                                   std::shared_ptr<FileSystem> files,
                                                   const MakeRing& make_ring) {
  KVFERRY_RETURN_IF_ERROR(check_options(options));
  const StorePaths paths(options.path);
  KVFERRY_RETURN_IF_ERROR(make_directories(*files, paths.root()));
  DiskStoreParts parts;
  parts.context = context;
  parts.options = options;
  parts.files = std::move(files);
  KVFERRY_ASSIGN_OR_RETURN(parts.lock, take_ownership(*parts.files, paths));
  KVFERRY_RETURN_IF_ERROR(make_shards(*parts.files, paths));
  KVFERRY_ASSIGN_OR_RETURN(parts.direct, supports_direct(*parts.files, paths));
  KVFERRY_ASSIGN_OR_RETURN(StoreScan scan,
                           scan_store(*parts.files, paths, parts.direct, *context.work_pool));
  parts.last_generation = scan.last_generation;
  KVFERRY_ASSIGN_OR_RETURN(parts.io,
                           choose_io(context, options, *parts.files, parts.direct, make_ring));
  auto store = std::make_shared<DiskStore>(std::move(parts));
  fill_catalog(*store, scan);
  return store;
}

Result<std::unique_ptr<StorageBackend>> make_local_disk_backend(const BackendContext& context,
                                                                const LocalDiskOptions& options) {
  KVFERRY_ASSIGN_OR_RETURN(
      auto store, open_disk_store(context, options, make_posix_file_system(), make_uring_io));
  return std::make_unique<LocalDiskBackend>(std::move(store));
}

}  // namespace kvferry
