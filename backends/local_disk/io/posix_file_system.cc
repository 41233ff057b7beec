#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "backends/local_disk/io/file_system.h"

namespace kvferry {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;

template <typename Call>
auto retry(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

Status last_error(const std::string& what) { return errno_status(errno, what); }

/// Regular or not, for file systems that do not say it in the directory.
bool is_regular(const std::string& path, unsigned char type) {
  if (type != DT_UNKNOWN) return type == DT_REG;
  struct stat info = {};
  return ::lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

class PosixFileSystem final : public FileSystem {
 public:
  Result<int> open(const std::string& path, const OpenOptions& options) override {
    int flags = O_CLOEXEC | O_NOFOLLOW | (options.write ? O_WRONLY : O_RDONLY);
    if (options.create) flags |= O_CREAT | O_EXCL;
    if (options.direct) flags |= O_DIRECT;
    const int fd = retry([&] { return ::open(path.c_str(), flags, kFileMode); });
    if (fd < 0) return make_error(last_error("open " + path));
    return fd;
  }

  void close(int fd) override { ::close(fd); }

  Result<size_t> read_at(int fd, std::span<std::byte> bytes, uint64_t offset) override {
    const ssize_t count =
        retry([&] { return ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (count < 0) return make_error(last_error("pread"));
    return static_cast<size_t>(count);
  }

  Result<size_t> write_at(int fd, std::span<const std::byte> bytes, uint64_t offset) override {
    const ssize_t count =
        retry([&] { return ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (count < 0) return make_error(last_error("pwrite"));
    return static_cast<size_t>(count);
  }

  Status preallocate(int fd, uint64_t size_bytes) override {
    if (retry([&] { return ::fallocate(fd, 0, 0, static_cast<off_t>(size_bytes)); }) == 0) {
      return {};
    }
    if (errno == EOPNOTSUPP || errno == ENOSYS) return {};
    return last_error("fallocate");
  }

  Status sync_file(int fd) override {
    return ::fdatasync(fd) == 0 ? Status() : last_error("fdatasync");
  }

  Status sync_directory(const std::string& path) override {
    const int fd = retry([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (fd < 0) return last_error("open " + path);
    Status status = ::fsync(fd) == 0 ? Status() : last_error("fsync " + path);
    ::close(fd);
    return status;
  }

  Status rename(const std::string& from, const std::string& to) override {
    return ::rename(from.c_str(), to.c_str()) == 0 ? Status() : last_error("rename to " + to);
  }

  Status unlink(const std::string& path) override {
    return ::unlink(path.c_str()) == 0 ? Status() : last_error("unlink " + path);
  }

  Result<bool> make_directory(const std::string& path) override {
    if (::mkdir(path.c_str(), kDirectoryMode) == 0) return true;
    if (errno == EEXIST) return false;
    return make_error(last_error("mkdir " + path));
  }

  Result<std::vector<DirectoryEntry>> list(const std::string& path) override {
    DIR* const directory = ::opendir(path.c_str());
    if (directory == nullptr) return make_error(last_error("opendir " + path));
    const std::string prefix = path + "/";
    std::vector<DirectoryEntry> entries;
    for (;;) {
      errno = 0;
      const dirent* const entry = ::readdir(directory);
      if (entry == nullptr) break;
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      entries.push_back({name, is_regular(prefix + name, entry->d_type)});
    }
    const int error = errno;
    ::closedir(directory);
    if (error != 0) return make_error(errno_status(error, "readdir " + path));
    return entries;
  }

  Result<FileInfo> info(int fd) override {
    struct stat stat = {};
    if (::fstat(fd, &stat) != 0) return make_error(last_error("fstat"));
    constexpr uint64_t kStatBlockBytes = 512;
    return FileInfo{.size_bytes = static_cast<uint64_t>(stat.st_size),
                    .allocated_bytes = static_cast<uint64_t>(stat.st_blocks) * kStatBlockBytes,
                    .mtime_ns = stat.st_mtim.tv_sec * 1'000'000'000 + stat.st_mtim.tv_nsec};
  }

  Result<int> lock(const std::string& path) override {
    const int fd = retry(
        [&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode); });
    if (fd < 0) return make_error(last_error("open " + path));
    if (retry([&] { return ::flock(fd, LOCK_EX | LOCK_NB); }) == 0) return fd;
    const int error = errno;
    ::close(fd);
    if (error != EWOULDBLOCK) return make_error(errno_status(error, "flock " + path));
    return make_error(Status::native(StatusCode::kFailedPrecondition, ErrorDomain::kErrno, error,
                                     path + " is locked by another store that is open"));
  }
};

StatusCode code_of(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return StatusCode::kResourceExhausted;
    case EACCES:
    case EPERM:
    case EROFS:
      return StatusCode::kPermissionDenied;
    case ENOENT:
    case ENOTDIR:
      return StatusCode::kNotFound;
    case EINVAL:
      return StatusCode::kInvalidArgument;
    default:
      return StatusCode::kUnavailable;
  }
}

}  // namespace

Status errno_status(int error, const std::string& what) {
  return Status::native(code_of(error), ErrorDomain::kErrno, error,
                        what + ": " + std::strerror(error));
}

std::unique_ptr<FileSystem> make_posix_file_system() { return std::make_unique<PosixFileSystem>(); }

}  // namespace kvferry
