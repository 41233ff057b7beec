#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace kvferry::sim_cuda {

enum class RegionKind : uint8_t { kDevice, kPinned, kRegistered, kImported };

/// Memory that the simulated driver knows.
struct Region {
  uintptr_t begin = 0;
  size_t bytes = 0;
  RegionKind kind = RegionKind::kDevice;
  int device = 0;
  std::byte* data = nullptr;  ///< where the simulator reads and writes it

  bool is_host() const { return kind == RegionKind::kPinned || kind == RegionKind::kRegistered; }
  bool contains(uintptr_t address, size_t count) const {
    return address >= begin && count <= bytes && address - begin <= bytes - count;
  }
};

/// A memory-backed file of which the host sees addresses that it cannot touch, and the simulator
/// the bytes. Addresses are never used twice before clear(), with a gap between allocations.
///
/// Threads: any thread. Readers see an immutable table, so that looking something up orders
/// nothing.
class Memory {
 public:
  Memory();
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// Null when the arena is used up.
  void* allocate_device(size_t bytes, int device);
  void* allocate_pinned(size_t bytes);
  /// False when a part of it is known already.
  bool register_host(void* address, size_t bytes);
  /// Forgets the region that begins there, poisoned if it was the simulator's to give.
  void remove(const Region& region);

  /// Names an allocation to another process of this user; opened there, read and written by both.
  struct Export {
    int process;
    int file;
    uint64_t offset;
    uint64_t bytes;
  };
  Export export_region(const Region& region) const;
  /// Null in the process that exported it, as in CUDA, or when that is gone.
  void* import_region(const Export& exported, int device);

  /// The region that holds the address, if any.
  std::optional<Region> find(const void* address) const;
  /// Is it an address of the arena, whether allocated or not?
  bool is_device_address(const void* address) const;
  std::vector<Region> regions() const;
  void clear();

 private:
  using Table = std::map<uintptr_t, Region>;  // by begin

  void publish(std::unique_ptr<const Table> table);
  const Table& table() const { return *table_.load(std::memory_order_acquire); }
  uintptr_t take_addresses(size_t bytes);

  int file_ = -1;
  std::byte* addresses_ = nullptr;  // of device memory: inaccessible
  std::byte* bytes_ = nullptr;      // the same, accessible
  size_t used_ = 0;
  std::mutex mutex_;
  std::vector<std::unique_ptr<const Table>> tables_;  // all that a reader may still look at
  std::atomic<const Table*> table_{nullptr};
};

}  // namespace kvferry::sim_cuda
