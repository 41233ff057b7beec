#include "backends/remote/fs_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <utility>

#include "backends/remote/remote_record.h"
#include "core/unique_fd.h"

namespace kvferry {
namespace {

constexpr size_t kFirstReadBytes = 16 * 1024;  // the header of most chunks
constexpr mode_t kFileMode = 0644;
constexpr mode_t kDirectoryMode = 0755;
constexpr std::string_view kTemporarySuffix = ".tmp";

Status io_error(int error, const std::string& what) {
  StatusCode code = StatusCode::kUnavailable;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == EMFILE || error == ENFILE) {
    code = StatusCode::kResourceExhausted;
  } else if (error == EACCES || error == EPERM || error == EROFS) {
    code = StatusCode::kPermissionDenied;
  }
  return Status::native(code, ErrorDomain::kErrno, error, what + ": " + std::strerror(error));
}

std::string hex_of(std::span<const uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const uint8_t byte : bytes) {
    hex += kDigits[byte >> 4U];
    hex += kDigits[byte & 15U];
  }
  return hex;
}

std::string make_writer_name() {
  std::array<char, 65> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::string name(host.data());
  std::ranges::replace(name, '/', '_');
  std::random_device random;
  const uint64_t number = (uint64_t{random()} << 32U) | random();
  return name + "." + std::to_string(::getpid()) + "." + std::to_string(number);
}

/// Reads up to `bytes.size()` bytes; fewer only at the end of the file.
Result<size_t> read_at(int fd, std::span<std::byte> bytes, size_t offset, const std::string& path) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        ::pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return make_error(io_error(errno, "cannot read " + path));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Status write_all(int fd, std::span<const std::byte> head, std::span<const std::byte> payload,
                 const std::string& path) {
  while (!head.empty() || !payload.empty()) {
    const std::array<iovec, 2> parts = {
        iovec{const_cast<std::byte*>(head.data()), head.size()},
        iovec{const_cast<std::byte*>(payload.data()), payload.size()}};
    const ssize_t n = ::writev(fd, parts.data(), parts.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error(errno, "cannot write " + path);
    const auto written = static_cast<size_t>(n);
    const size_t of_head = std::min(written, head.size());
    head = head.subspan(of_head);
    payload = payload.subspan(written - of_head);
  }
  return {};
}

}  // namespace

FsFiles::FsFiles(std::string root) : root_(std::move(root)), writer_(make_writer_name()) {}

std::string FsFiles::path_of(const CacheEngineKey& key) const {
  const std::string hash = key.chunk_hash.to_hex();
  return root_ + "/" + hash.substr(0, 2) + "/" + hash + "-" + hex_of(key.digest()) + ".kvchunk";
}

std::string FsFiles::temporary_path() {
  return root_ + "/tmp/" + writer_ + "." + std::to_string(next_temporary_.fetch_add(1)) +
         std::string(kTemporarySuffix);
}

Status FsFiles::make_directory(const std::string& path) const {
  if (::mkdir(path.c_str(), kDirectoryMode) == 0 || errno == EEXIST) return {};
  const int error = errno;
  if (error == ENOENT) {
    return Status(StatusCode::kUnavailable,
                  "the shared directory " + root_ + " does not exist; make or mount it");
  }
  return io_error(error, "cannot make directory " + path);
}

// ---- one chunk

Status FsFiles::write(const CacheEngineKey& key, const MemoryObj& obj) {
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<std::byte> head, encode_record_head(key, obj));
  const std::string path = path_of(key);
  const std::string temporary = temporary_path();
  Status status = write_temporary(temporary, head, obj.bytes());
  if (status.is_ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = errno == ENOENT ? make_directory(path.substr(0, path.rfind('/')))
                             : io_error(errno, "cannot rename to " + path);
    if (status.is_ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
      status = io_error(errno, "cannot rename to " + path);
    }
  }
  if (!status.is_ok()) ::unlink(temporary.c_str());
  return status;
}

Status FsFiles::write_temporary(const std::string& path, std::span<const std::byte> head,
                                std::span<const std::byte> payload) const {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  UniqueFd fd(::open(path.c_str(), kFlags, kFileMode));
  if (!fd.is_open() && errno == ENOENT) {
    KVFERRY_RETURN_IF_ERROR(make_directory(root_ + "/tmp"));
    fd = UniqueFd(::open(path.c_str(), kFlags, kFileMode));
  }
  if (!fd.is_open()) return io_error(errno, "cannot create " + path);
  KVFERRY_RETURN_IF_ERROR(write_all(fd.get(), head, payload, path));
  // Network file systems tell of a full disk here.
  const int raw_fd = fd.release();
  return ::close(raw_fd) == 0 ? Status() : io_error(errno, "cannot close " + path);
}

Result<MemoryObjPtr> FsFiles::read(const CacheEngineKey& key, MemoryAllocator& allocator) const {
  const std::string path = path_of(key);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) {
    if (errno == ENOENT) return MemoryObjPtr();
    return make_error(io_error(errno, "cannot open " + path));
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return make_error(io_error(errno, "cannot look at " + path));
  const auto file_bytes = static_cast<size_t>(info.st_size);
  std::vector<std::byte> header(std::min(file_bytes, kFirstReadBytes));
  KVFERRY_ASSIGN_OR_RETURN(size_t got, read_at(fd.get(), header, 0, path));
  header.resize(got);
  KVFERRY_ASSIGN_OR_RETURN(const size_t header_bytes, chunk_record_header_bytes(header));
  if (header_bytes > header.size()) {
    header.resize(std::min(header_bytes, file_bytes));
    KVFERRY_ASSIGN_OR_RETURN(got, read_at(fd.get(), header, 0, path));
    header.resize(got);
  }
  KVFERRY_ASSIGN_OR_RETURN(RecordObject record,
                           begin_record_object(allocator, key, header, file_bytes));
  const std::span<std::byte> payload = record.obj->bytes();
  KVFERRY_ASSIGN_OR_RETURN(got, read_at(fd.get(), payload, record.payload_offset, path));
  if (got < payload.size()) {
    return make_error(StatusCode::kDataLoss, path + " was cut while it was read");
  }
  return std::move(record.obj);
}

Result<bool> FsFiles::exists(const CacheEngineKey& key) const {
  const std::string path = path_of(key);
  if (::access(path.c_str(), F_OK) == 0) return true;
  if (errno == ENOENT) return false;
  return make_error(io_error(errno, "cannot look for " + path));
}

Result<bool> FsFiles::remove(const CacheEngineKey& key) const {
  const std::string path = path_of(key);
  if (::unlink(path.c_str()) == 0) return true;
  if (errno == ENOENT) return false;
  return make_error(io_error(errno, "cannot remove " + path));
}

// ---- temporary files

Result<size_t> FsFiles::remove_stale(Duration age) {
  // A file made now tells the time of the file system, which may be another host's.
  const std::string probe = temporary_path();
  KVFERRY_RETURN_IF_ERROR(write_temporary(probe, {}, {}));
  struct stat now {};
  const bool has_time = ::stat(probe.c_str(), &now) == 0;
  ::unlink(probe.c_str());
  if (!has_time) return make_error(io_error(errno, "cannot look at " + probe));

  const std::string directory = root_ + "/tmp";
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(directory.c_str()), &::closedir);
  if (!listing) return make_error(io_error(errno, "cannot list " + directory));
  const auto age_seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
  size_t num_removed = 0;
  while (const dirent* entry = ::readdir(listing.get())) {
    const std::string_view name(entry->d_name);
    if (!name.ends_with(kTemporarySuffix)) continue;
    struct stat info {};
    const int directory_fd = ::dirfd(listing.get());
    if (::fstatat(directory_fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (now.st_mtime - info.st_mtime < age_seconds) continue;
    if (::unlinkat(directory_fd, entry->d_name, 0) == 0) ++num_removed;
  }
  return num_removed;
}

}  // namespace kvferry
