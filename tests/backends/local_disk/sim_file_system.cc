#include "tests/backends/local_disk/sim_file_system.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "backends/local_disk/chunk_file.h"
#include "backends/local_disk/io/aligned_buffer.h"

namespace kvferry {
namespace {

constexpr size_t kSectorBytes = 512;

std::string parent_of(const std::string& path) {
  const size_t end = path.rfind('/');
  return end == std::string::npos || end == 0 ? "/" : path.substr(0, end);
}
std::string name_in(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool is_aligned(std::span<const std::byte> bytes, uint64_t offset) {
  return is_block_aligned(bytes.data()) && bytes.size() % kChunkPayloadAlignment == 0 &&
         offset % kChunkPayloadAlignment == 0;
}

}  // namespace

void SimFileSystem::set_fault_hook(FaultHook hook) {
  MutexLock lock(mutex_);
  hook_ = std::move(hook);
}

void SimFileSystem::set_capacity(size_t bytes) {
  MutexLock lock(mutex_);
  capacity_ = bytes;
}

SimFault SimFileSystem::fault(std::string_view call, const std::string& path) {
  FaultHook hook;
  {
    MutexLock lock(mutex_);
    if (is_dead_) return {EIO};
    hook = hook_;
  }
  const SimFault fault = hook ? hook(call, path) : SimFault();
  MutexLock lock(mutex_);
  return is_dead_ ? SimFault{EIO} : fault;
}

std::string SimFileSystem::path_of(int fd) const {
  MutexLock lock(mutex_);
  const auto found = open_.find(fd);
  return found == open_.end() ? "" : found->second.path;
}

size_t SimFileSystem::used_bytes() const {
  MutexLock lock(mutex_);
  return used_;
}

size_t SimFileSystem::peak_used_bytes() const {
  MutexLock lock(mutex_);
  return peak_;
}

std::vector<std::string> SimFileSystem::file_names() const {
  MutexLock lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [path, directory] : directories_) {
    for (const auto& [name, inode] : directory.names) names.push_back(name);
  }
  return names;
}

// ---- power

void SimFileSystem::apply(Names& names, const Change& change) {
  if (!change.removed.empty()) names.erase(change.removed);
  if (!change.added.empty()) names[change.added] = change.inode;
}

// Sectors that were written but not synced are there or not, each for itself; a file that grew has
// any length in between.
SimFileSystem::Bytes SimFileSystem::surviving_bytes(const Inode& inode, SeededRng& rng) {
  Bytes bytes = inode.synced;
  if (inode.bytes.size() > bytes.size() && rng.one_in(2)) {
    bytes.resize(inode.bytes.size());
  } else if (inode.bytes.size() > bytes.size()) {
    bytes.resize(bytes.size() + rng.below(inode.bytes.size() - bytes.size()));
  }
  const uint64_t kept_in_8 = rng.below(9);
  for (const size_t sector : inode.dirty_sectors) {
    const size_t begin = sector * kSectorBytes;
    const size_t end = std::min({begin + kSectorBytes, bytes.size(), inode.bytes.size()});
    if (begin >= end || rng.below(8) >= kept_in_8) continue;
    std::copy(inode.bytes.begin() + static_cast<ptrdiff_t>(begin),
              inode.bytes.begin() + static_cast<ptrdiff_t>(end),
              bytes.begin() + static_cast<ptrdiff_t>(begin));
  }
  return bytes;
}

bool SimFileSystem::survives(const std::string& directory, std::map<std::string, bool>& fates,
                             SeededRng& rng) const {
  const auto found = directories_.find(directory);
  if (found == directories_.end()) return true;  // of the machine, not of the store
  const auto fate = fates.find(directory);
  if (fate != fates.end()) return fate->second;
  const bool is_there =
      survives(parent_of(directory), fates, rng) && (found->second.is_durable || rng.one_in(2));
  fates[directory] = is_there;
  return is_there;
}

std::shared_ptr<SimFileSystem> SimFileSystem::cut_power(SeededRng& rng) {
  auto after = std::make_shared<SimFileSystem>();
  MutexLock lock(mutex_);
  MutexLock after_lock(after->mutex_);
  is_dead_ = true;
  after->now_ns_ = now_ns_;
  std::map<const Inode*, InodePtr> copies;
  std::map<std::string, bool> fates;
  for (auto& [path, directory] : directories_) {
    if (!survives(path, fates, rng)) continue;
    Names names = directory.synced;
    const uint64_t kept_in_8 = rng.below(9);
    for (const Change& change : directory.changes) {
      if (rng.below(8) < kept_in_8) apply(names, change);
    }
    Directory& found = after->directories_[path];
    found.is_durable = true;
    for (const auto& [name, inode] : names) {
      InodePtr& copy = copies[inode.get()];
      if (copy == nullptr) {
        copy = after->new_inode(name != kIdentityFile);
        copy->bytes = surviving_bytes(*inode, rng);
        copy->synced = copy->bytes;
        copy->mtime_ns = inode->mtime_ns;
        const size_t bytes = copy->bytes.size();
        after->grow(*copy, bytes).ignore("it has no capacity yet");
      }
      found.names[name] = copy;
    }
    found.synced = found.names;
  }
  after->peak_ = after->used_;
  return after;
}

// ---- files

SimFileSystem::InodePtr SimFileSystem::new_inode(bool counts) {
  auto inode = std::make_shared<Inode>();
  inode->counts = counts;
  inode->mtime_ns = ++now_ns_;
  return inode;
}

Status SimFileSystem::grow(Inode& inode, size_t bytes) {
  const size_t wanted = round_up_to_block(bytes);
  if (!inode.counts || wanted <= inode.charged) return {};
  if (used_ + (wanted - inode.charged) > capacity_) return errno_status(ENOSPC, "write");
  used_ += wanted - inode.charged;
  inode.charged = wanted;
  peak_ = std::max(peak_, used_);
  return {};
}

// What only a cut could bring back takes no room.
void SimFileSystem::free_if_unused(Inode& inode) {
  if (!inode.has_name && inode.num_open == 0) used_ -= std::exchange(inode.charged, 0);
}

SimFileSystem::Directory* SimFileSystem::directory_of(const std::string& path) {
  const auto found = directories_.find(parent_of(path));
  return found == directories_.end() ? nullptr : &found->second;
}

int SimFileSystem::add_open(OpenInode open) {
  ++open.inode->num_open;
  open_[next_fd_] = std::move(open);
  return next_fd_++;
}

Result<int> SimFileSystem::open(const std::string& path, const OpenOptions& options) {
  if (const int error = fault("open", path).error; error != 0) {
    return make_error(errno_status(error, "open"));
  }
  MutexLock lock(mutex_);
  if (options.direct && !supports_direct_) return make_error(errno_status(EINVAL, "open"));
  Directory* const directory = directory_of(path);
  if (directory == nullptr) return make_error(errno_status(ENOENT, "open"));
  const auto found = directory->names.find(name_in(path));
  if (options.create) {
    if (found != directory->names.end()) return make_error(errno_status(EEXIST, "open"));
    const Change change = {"", name_in(path), new_inode(true)};
    apply(directory->names, change);
    directory->changes.push_back(change);
    return add_open({change.inode, path, options.direct});
  }
  if (found == directory->names.end()) return make_error(errno_status(ENOENT, "open"));
  return add_open({found->second, path, options.direct});
}

void SimFileSystem::close(int fd) {
  MutexLock lock(mutex_);
  const auto found = open_.find(fd);
  if (found->second.is_lock) locked_.erase(found->second.path);
  --found->second.inode->num_open;
  free_if_unused(*found->second.inode);
  open_.erase(found);
}

Result<size_t> SimFileSystem::read_at(int fd, std::span<std::byte> bytes, uint64_t offset) {
  const SimFault hit = fault("read_at", path_of(fd));
  if (hit.error != 0) return make_error(errno_status(hit.error, "read"));
  MutexLock lock(mutex_);
  const OpenInode& open = open_.at(fd);
  if (open.direct && !is_aligned(bytes, offset)) return make_error(errno_status(EINVAL, "read"));
  const Bytes& from = open.inode->bytes;
  if (offset >= from.size()) return size_t{0};
  const size_t count = std::min({bytes.size(), from.size() - offset, hit.at_most});
  std::copy_n(from.begin() + static_cast<ptrdiff_t>(offset), count, bytes.begin());
  return count;
}

Result<size_t> SimFileSystem::write_at(int fd, std::span<const std::byte> bytes, uint64_t offset) {
  const SimFault hit = fault("write_at", path_of(fd));
  if (hit.error != 0) return make_error(errno_status(hit.error, "write"));
  MutexLock lock(mutex_);
  OpenInode& open = open_.at(fd);
  if (open.direct && !is_aligned(bytes, offset)) return make_error(errno_status(EINVAL, "write"));
  const size_t count = std::min(bytes.size(), hit.at_most);
  if (count == 0) return count;
  Inode& inode = *open.inode;
  KVFERRY_RETURN_IF_ERROR(grow(inode, offset + count));
  if (inode.bytes.size() < offset + count) inode.bytes.resize(offset + count);
  std::copy_n(bytes.begin(), count, inode.bytes.begin() + static_cast<ptrdiff_t>(offset));
  for (size_t sector = offset / kSectorBytes; sector * kSectorBytes < offset + count; ++sector) {
    inode.dirty_sectors.insert(sector);
  }
  inode.mtime_ns = ++now_ns_;
  return count;
}

Status SimFileSystem::preallocate(int fd, uint64_t size_bytes) {
  if (const int error = fault("preallocate", path_of(fd)).error; error != 0) {
    return errno_status(error, "fallocate");
  }
  MutexLock lock(mutex_);
  Inode& inode = *open_.at(fd).inode;
  KVFERRY_RETURN_IF_ERROR(grow(inode, size_bytes));
  if (inode.bytes.size() < size_bytes) inode.bytes.resize(size_bytes);
  return {};
}

Status SimFileSystem::sync_file(int fd) {
  if (const int error = fault("sync_file", path_of(fd)).error; error != 0) {
    return errno_status(error, "fdatasync");
  }
  MutexLock lock(mutex_);
  if (is_dead_) return errno_status(EIO, "fdatasync");  // cut since, so nothing was promised
  Inode& inode = *open_.at(fd).inode;
  inode.synced = inode.bytes;
  inode.dirty_sectors.clear();
  return {};
}

Result<FileInfo> SimFileSystem::info(int fd) {
  if (const int error = fault("info", path_of(fd)).error; error != 0) {
    return make_error(errno_status(error, "fstat"));
  }
  MutexLock lock(mutex_);
  const Inode& inode = *open_.at(fd).inode;
  return FileInfo{inode.bytes.size(), inode.charged, inode.mtime_ns};
}

// ---- names

Status SimFileSystem::sync_directory(const std::string& path) {
  if (const int error = fault("sync_directory", path).error; error != 0) {
    return errno_status(error, "fsync");
  }
  MutexLock lock(mutex_);
  if (is_dead_) return errno_status(EIO, "fsync");
  for (auto& [each, child] : directories_) {
    if (parent_of(each) == path) child.is_durable = true;
  }
  if (path == "/") return {};
  Directory& directory = directories_.at(path);
  directory.synced = directory.names;
  directory.changes.clear();
  return {};
}

Status SimFileSystem::rename(const std::string& from, const std::string& to) {
  if (const int error = fault("rename", from).error; error != 0) {
    return errno_status(error, "rename");
  }
  MutexLock lock(mutex_);
  Directory* const directory = directory_of(from);
  if (directory == nullptr || directory != directory_of(to) ||
      !directory->names.contains(name_in(from))) {
    return errno_status(ENOENT, "rename");
  }
  const Change change = {name_in(from), name_in(to), directory->names.at(name_in(from))};
  apply(directory->names, change);
  directory->changes.push_back(change);
  return {};
}

Status SimFileSystem::unlink(const std::string& path) {
  if (const int error = fault("unlink", path).error; error != 0) {
    return errno_status(error, "unlink");
  }
  MutexLock lock(mutex_);
  Directory* const directory = directory_of(path);
  if (directory == nullptr || !directory->names.contains(name_in(path))) {
    return errno_status(ENOENT, "unlink");
  }
  const Change change = {name_in(path), "", nullptr};
  const InodePtr removed = directory->names.at(name_in(path));
  apply(directory->names, change);
  directory->changes.push_back(change);
  removed->has_name = false;
  free_if_unused(*removed);
  return {};
}

Result<bool> SimFileSystem::make_directory(const std::string& path) {
  if (const int error = fault("make_directory", path).error; error != 0) {
    return make_error(errno_status(error, "mkdir"));
  }
  MutexLock lock(mutex_);
  return directories_.try_emplace(path).second;
}

Result<std::vector<DirectoryEntry>> SimFileSystem::list(const std::string& path) {
  if (const int error = fault("list", path).error; error != 0) {
    return make_error(errno_status(error, "opendir"));
  }
  MutexLock lock(mutex_);
  const auto found = directories_.find(path);
  if (found == directories_.end()) return make_error(errno_status(ENOENT, "opendir"));
  std::vector<DirectoryEntry> entries;
  for (const auto& [name, inode] : found->second.names) entries.push_back({name, true});
  return entries;
}

Result<int> SimFileSystem::lock(const std::string& path) {
  if (const int error = fault("lock", path).error; error != 0) {
    return make_error(errno_status(error, "flock"));
  }
  MutexLock lock(mutex_);
  Directory* const directory = directory_of(path);
  if (directory == nullptr) return make_error(errno_status(ENOENT, "open"));
  if (!locked_.insert(path).second) {
    return make_error(StatusCode::kFailedPrecondition, path + " is locked");
  }
  const auto found = directory->names.find(name_in(path));
  if (found != directory->names.end()) return add_open({found->second, path, false, true});
  const Change change = {"", name_in(path), new_inode(false)};
  apply(directory->names, change);
  directory->changes.push_back(change);
  return add_open({change.inode, path, false, true});
}

}  // namespace kvferry
