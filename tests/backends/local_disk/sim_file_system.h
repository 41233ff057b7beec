#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "backends/local_disk/io/file_system.h"
#include "kvferry/mutex.h"
#include "tests/support/seeded_rng.h"

namespace kvferry {

/// What a call is to do in place of what it would.
struct SimFault {
  int error = 0;              ///< this errno, and nothing else
  size_t at_most = SIZE_MAX;  ///< of the bytes of a read or write
};

/// Files in memory that can lose power: what was not synced is kept apart, block by block and name
/// by name, and cut_power() keeps a random part of it.
///
/// Direct I/O wants offsets, lengths and addresses at multiples of 4 KiB.
///
/// Threads: any thread, internally locked.
class SimFileSystem final : public FileSystem {
 public:
  /// `call` is the method's name. Called without the lock, before the call does anything.
  using FaultHook = std::function<SimFault(std::string_view call, const std::string& path)>;

  void set_fault_hook(FaultHook hook);
  void set_capacity(size_t bytes);
  void refuse_direct() { supports_direct_ = false; }

  /// From here on every call fails. What a machine finds that is switched on again.
  std::shared_ptr<SimFileSystem> cut_power(SeededRng& rng);

  /// Blocks of files, those included that are open but have no name any more.
  size_t used_bytes() const;
  size_t peak_used_bytes() const;
  std::vector<std::string> file_names() const;

  Result<int> open(const std::string& path, const OpenOptions& options) override;
  void close(int fd) override;
  Result<size_t> read_at(int fd, std::span<std::byte> bytes, uint64_t offset) override;
  Result<size_t> write_at(int fd, std::span<const std::byte> bytes, uint64_t offset) override;
  Status preallocate(int fd, uint64_t size_bytes) override;
  Status sync_file(int fd) override;
  Status sync_directory(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status unlink(const std::string& path) override;
  Result<bool> make_directory(const std::string& path) override;
  Result<std::vector<DirectoryEntry>> list(const std::string& path) override;
  Result<FileInfo> info(int fd) override;
  Result<int> lock(const std::string& path) override;

 private:
  using Bytes = std::vector<std::byte>;
  struct Inode {
    Bytes bytes;
    Bytes synced;
    std::set<size_t> dirty_sectors;
    int64_t mtime_ns = 0;
    bool counts = true;  // in used_bytes()
    bool has_name = true;
    int num_open = 0;
    size_t charged = 0;
  };
  using InodePtr = std::shared_ptr<Inode>;
  using Names = std::map<std::string, InodePtr>;
  struct Change {  // one that a cut keeps or loses as a whole
    std::string removed;
    std::string added;
    InodePtr inode;
  };
  struct Directory {
    bool is_durable = false;  // its own name, in its parent
    Names names;
    Names synced;
    std::vector<Change> changes;
  };
  struct OpenInode {
    InodePtr inode;
    std::string path;
    bool direct = false;
    bool is_lock = false;
  };

  SimFault fault(std::string_view call, const std::string& path);
  std::string path_of(int fd) const;
  Status grow(Inode& inode, size_t bytes) KVFERRY_REQUIRES(mutex_);
  Directory* directory_of(const std::string& path) KVFERRY_REQUIRES(mutex_);
  int add_open(OpenInode open) KVFERRY_REQUIRES(mutex_);
  InodePtr new_inode(bool counts) KVFERRY_REQUIRES(mutex_);
  void free_if_unused(Inode& inode) KVFERRY_REQUIRES(mutex_);
  static void apply(Names& names, const Change& change);
  bool survives(const std::string& directory, std::map<std::string, bool>& fates,
                SeededRng& rng) const KVFERRY_REQUIRES(mutex_);
  static Bytes surviving_bytes(const Inode& inode, SeededRng& rng);

  mutable Mutex mutex_;
  FaultHook hook_ KVFERRY_GUARDED_BY(mutex_);
  bool is_dead_ KVFERRY_GUARDED_BY(mutex_) = false;
  bool supports_direct_ = true;
  size_t capacity_ KVFERRY_GUARDED_BY(mutex_) = SIZE_MAX;
  size_t used_ KVFERRY_GUARDED_BY(mutex_) = 0;
  size_t peak_ KVFERRY_GUARDED_BY(mutex_) = 0;
  int64_t now_ns_ KVFERRY_GUARDED_BY(mutex_) = 0;
  int next_fd_ KVFERRY_GUARDED_BY(mutex_) = 1000;
  std::set<std::string> locked_ KVFERRY_GUARDED_BY(mutex_);
  std::map<std::string, Directory> directories_ KVFERRY_GUARDED_BY(mutex_);
  std::map<int, OpenInode> open_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
