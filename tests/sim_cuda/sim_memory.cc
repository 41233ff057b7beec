#include "tests/sim_cuda/sim_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace kvferry::sim_cuda {
namespace {

constexpr size_t kArenaBytes = size_t{64} << 30;
constexpr size_t kGap = 4096;
constexpr int kAllocated = 0xA7;
constexpr int kFreed = 0xDB;
// Of a larger allocation only its ends are poisoned: it is there for its addresses.
constexpr size_t kPoisonBytes = size_t{128} << 20;

void* map(size_t bytes, int protection, int file) {
  const int flags = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* address = ::mmap(nullptr, bytes, protection, flags | MAP_NORESERVE, file, 0);
  if (address == MAP_FAILED) {
    std::perror("sim_cuda: no address space for device memory");
    std::abort();
  }
  return address;
}

void poison(std::byte* data, size_t bytes, int value) {
  if (bytes <= 2 * kPoisonBytes) {
    std::memset(data, value, bytes);
    return;
  }
  std::memset(data, value, kPoisonBytes);
  std::memset(data + bytes - kPoisonBytes, value, kPoisonBytes);
}

}  // namespace

Memory::Memory() : file_(::memfd_create("sim_cuda", MFD_CLOEXEC)) {
  if (file_ < 0 || ::ftruncate(file_, kArenaBytes) != 0) {
    std::perror("sim_cuda: no file for device memory");
    std::abort();
  }
  addresses_ = static_cast<std::byte*>(map(kArenaBytes, PROT_NONE, -1));
  bytes_ = static_cast<std::byte*>(map(kArenaBytes, PROT_READ | PROT_WRITE, file_));
  publish(std::make_unique<Table>());
}

Memory::~Memory() {
  clear();
  ::munmap(addresses_, kArenaBytes);
  ::munmap(bytes_, kArenaBytes);
  ::close(file_);
}

void Memory::publish(std::unique_ptr<const Table> table) {
  table_.store(table.get(), std::memory_order_release);
  tables_.push_back(std::move(table));
}

uintptr_t Memory::take_addresses(size_t bytes) {
  const size_t offset = used_;
  if (bytes > kArenaBytes - kGap || offset > kArenaBytes - kGap - bytes) return 0;
  used_ = (offset + bytes + 2 * kGap - 1) / kGap * kGap;
  return reinterpret_cast<uintptr_t>(addresses_ + offset);
}

void* Memory::allocate_device(size_t bytes, int device) {
  const std::lock_guard lock(mutex_);
  const uintptr_t begin = take_addresses(bytes);
  if (begin == 0) return nullptr;
  std::byte* const data = bytes_ + (begin - reinterpret_cast<uintptr_t>(addresses_));
  poison(data, bytes, kAllocated);
  auto table = std::make_unique<Table>(this->table());
  table->emplace(begin, Region{begin, bytes, RegionKind::kDevice, device, data});
  publish(std::move(table));
  return reinterpret_cast<void*>(begin);
}

void* Memory::allocate_pinned(size_t bytes) {
  void* address = map(bytes, PROT_READ | PROT_WRITE, -1);
  poison(static_cast<std::byte*>(address), bytes, kAllocated);
  const std::lock_guard lock(mutex_);
  auto table = std::make_unique<Table>(this->table());
  const auto begin = reinterpret_cast<uintptr_t>(address);
  table->emplace(begin,
                 Region{begin, bytes, RegionKind::kPinned, 0, static_cast<std::byte*>(address)});
  publish(std::move(table));
  return address;
}

bool Memory::register_host(void* address, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto begin = reinterpret_cast<uintptr_t>(address);
  for (const auto& [other, region] : table()) {
    if (begin < other + region.bytes && other < begin + bytes) return false;
  }
  auto table = std::make_unique<Table>(this->table());
  table->emplace(
      begin, Region{begin, bytes, RegionKind::kRegistered, 0, static_cast<std::byte*>(address)});
  publish(std::move(table));
  return true;
}

void Memory::remove(const Region& region) {
  const std::lock_guard lock(mutex_);
  auto table = std::make_unique<Table>(this->table());
  table->erase(region.begin);
  publish(std::move(table));
  switch (region.kind) {
    case RegionKind::kDevice:
      poison(region.data, region.bytes, kFreed);
      break;
    case RegionKind::kPinned:
    case RegionKind::kImported:
      ::munmap(region.data, region.bytes);
      break;
    case RegionKind::kRegistered:
      break;
  }
}

Memory::Export Memory::export_region(const Region& region) const {
  return {::getpid(), file_, static_cast<uint64_t>(region.data - bytes_), region.bytes};
}

void* Memory::import_region(const Export& exported, int device) {
  if (exported.process == ::getpid()) return nullptr;
  const std::string path =
      "/proc/" + std::to_string(exported.process) + "/fd/" + std::to_string(exported.file);
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return nullptr;
  void* const data = ::mmap(nullptr, exported.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file,
                            static_cast<off_t>(exported.offset));
  ::close(file);
  if (data == MAP_FAILED) return nullptr;
  const std::lock_guard lock(mutex_);
  const uintptr_t begin = take_addresses(exported.bytes);
  auto table = std::make_unique<Table>(this->table());
  table->emplace(begin, Region{begin, exported.bytes, RegionKind::kImported, device,
                               static_cast<std::byte*>(data)});
  publish(std::move(table));
  return reinterpret_cast<void*>(begin);
}

std::optional<Region> Memory::find(const void* address) const {
  const Table& regions = table();
  const auto value = reinterpret_cast<uintptr_t>(address);
  auto next = regions.upper_bound(value);
  if (next == regions.begin()) return std::nullopt;
  const Region& region = std::prev(next)->second;
  if (value - region.begin >= region.bytes) return std::nullopt;
  return region;
}

bool Memory::is_device_address(const void* address) const {
  const auto value = reinterpret_cast<uintptr_t>(address);
  return value - reinterpret_cast<uintptr_t>(addresses_) < kArenaBytes;
}

std::vector<Region> Memory::regions() const {
  std::vector<Region> all;
  for (const auto& [begin, region] : table()) all.push_back(region);
  return all;
}

void Memory::clear() {
  for (const Region& region : regions()) {
    if (region.kind != RegionKind::kDevice) remove(region);
  }
  const std::lock_guard lock(mutex_);
  // Gives the pages back; what is allocated there next is poisoned anew.
  ::fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
              static_cast<off_t>(std::max<size_t>(used_, 1)));
  used_ = 0;
  publish(std::make_unique<Table>());
  tables_.erase(tables_.begin(), tables_.end() - 1);
}

}  // namespace kvferry::sim_cuda
