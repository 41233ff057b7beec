#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvferry/status.h"

namespace kvferry {

struct DirectoryEntry {
  std::string name;
  bool is_file = false;  ///< a regular one
};

struct FileInfo {
  uint64_t size_bytes = 0;
  uint64_t allocated_bytes = 0;  ///< blocks
  int64_t mtime_ns = 0;
};

struct OpenOptions {
  bool write = false;   ///< else read
  bool create = false;  ///< must be new
  bool direct = false;  ///< O_DIRECT
};

/// The system calls of the store, so that tests can fail each of them, and cut the power.
///
/// Errors carry the errno; codes are those of errno_status(). Reads and writes may be short.
///
/// Threads: any thread; all calls block.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual Result<int> open(const std::string& path, const OpenOptions& options) = 0;
  virtual void close(int fd) = 0;
  /// 0: the file ends there.
  virtual Result<size_t> read_at(int fd, std::span<std::byte> bytes, uint64_t offset) = 0;
  virtual Result<size_t> write_at(int fd, std::span<const std::byte> bytes, uint64_t offset) = 0;
  /// Takes the blocks for a file of that size. OK where the file system cannot.
  virtual Status preallocate(int fd, uint64_t size_bytes) = 0;
  /// The file's bytes and size outlive a power cut; not its name.
  virtual Status sync_file(int fd) = 0;
  /// The directory's names outlive a power cut.
  virtual Status sync_directory(const std::string& path) = 0;
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  virtual Status unlink(const std::string& path) = 0;
  /// False: it is there already.
  virtual Result<bool> make_directory(const std::string& path) = 0;
  virtual Result<std::vector<DirectoryEntry>> list(const std::string& path) = 0;
  virtual Result<FileInfo> info(int fd) = 0;
  /// Opens the file, made if need be, and locks it against every other opener until it is closed.
  /// Errors: kFailedPrecondition if it is locked.
  virtual Result<int> lock(const std::string& path) = 0;
};

/// kResourceExhausted for ENOSPC, EDQUOT, EFBIG, EMFILE, ENFILE and ENOMEM; kPermissionDenied,
/// kNotFound and kInvalidArgument for their errnos; kUnavailable for all else (EIO).
Status errno_status(int error, const std::string& what);

/// The system's own. A file that it makes is its user's alone.
std::unique_ptr<FileSystem> make_posix_file_system();

/// Owns a descriptor of a FileSystem.
class OpenFile {
 public:
  OpenFile() = default;
  OpenFile(FileSystem& files, int fd) : files_(&files), fd_(fd) {}
  OpenFile(OpenFile&& other) noexcept : files_(other.files_), fd_(std::exchange(other.fd_, -1)) {}
  OpenFile& operator=(OpenFile&& other) noexcept {
    if (this != &other) {
      reset();
      files_ = other.files_;
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() { reset(); }

  static Result<OpenFile> open(FileSystem& files, const std::string& path,
                               const OpenOptions& options) {
    KVFERRY_ASSIGN_OR_RETURN(const int fd, files.open(path, options));
    return OpenFile(files, fd);
  }

  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void reset() {
    if (fd_ >= 0) files_->close(std::exchange(fd_, -1));
  }

 private:
  FileSystem* files_ = nullptr;
  int fd_ = -1;
};

}  // namespace kvferry
