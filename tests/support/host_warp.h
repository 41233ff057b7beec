#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/paged_copy_body.h"

namespace kvferry::test {

/// Memory that a kernel body may touch, with a count of the writes to each byte.
class ShadowMemory {
 public:
  void add(std::span<std::byte> bytes) {
    regions_.push_back({bytes, std::vector<uint8_t>(bytes.size())});
  }

  /// The bytes at `address`; null if it may not be accessed so. The first complaint is kept, after
  /// which nothing may be.
  std::byte* at(const std::byte* address, size_t bytes, bool writes) {
    if (!complaint_.empty()) return nullptr;
    if (reinterpret_cast<uintptr_t>(address) % (bytes > 16 ? 8 : bytes) != 0) {
      return complain("misaligned", bytes);
    }
    for (Region& region : regions_) {
      std::byte* const begin = region.bytes.data();
      if (address < begin || address + bytes > begin + region.bytes.size()) continue;
      const auto offset = static_cast<size_t>(address - begin);
      for (size_t i = 0; writes && i < bytes; ++i) ++region.writes[offset + i];
      return begin + offset;
    }
    return complain(writes ? "store outside" : "load outside", bytes);
  }

  std::span<const uint8_t> writes(size_t region) const { return regions_[region].writes; }
  const std::string& complaint() const { return complaint_; }

 private:
  struct Region {
    std::span<std::byte> bytes;
    std::vector<uint8_t> writes;
  };

  std::byte* complain(const char* what, size_t bytes) {
    complaint_ = std::string(what) + " by " + std::to_string(bytes);
    return nullptr;
  }

  std::vector<Region> regions_;
  std::string complaint_;
};

/// A warp on the host: PagedCopyBody runs all lanes of a phase before the next phase.
/// `Memory::at(address, bytes, writes)` says where the bytes lie; null: nowhere, which reads as
/// zeros.
template <class Memory>
class HostWarp {
 public:
  template <typename T>
  struct Lanes {
    std::array<T, kWarpLanes> values;
    T& operator[](int lane) { return values[static_cast<size_t>(lane)]; }
    const T& operator[](int lane) const { return values[static_cast<size_t>(lane)]; }
  };

  explicit HostWarp(Memory* memory) : memory_(memory) {}

  template <typename F>
  void for_lanes(F body) const {
    for (int lane = 0; lane < kWarpLanes; ++lane) body(lane);
  }
  Lanes<uint64_t> shuffle_xor(const Lanes<uint64_t>& lanes, int mask) const {
    Lanes<uint64_t> result;
    for_lanes([&](int lane) { result[lane] = lanes[lane ^ mask]; });
    return result;
  }

  template <int kBytes>
  auto load_data(const std::byte* from) const {
    std::conditional_t<kBytes == 16, Vector16, uint64_t> data = {};
    if (const std::byte* bytes = memory_->at(from, kBytes, false)) {
      std::memcpy(&data, bytes, kBytes);
    }
    return data;
  }
  template <int kBytes, typename T>
  void store_data(std::byte* to, const T& data) const {
    if (std::byte* bytes = memory_->at(to, kBytes, true)) std::memcpy(bytes, &data, kBytes);
  }

  PagedCopyPlane load_plane(const PagedCopyPlane* plane) const { return load(plane); }
  int64_t load_slot(const int64_t* slot) const { return load(slot); }
  void store_digest(uint64_t* to, uint64_t digest) const {
    store_data<sizeof(digest)>(reinterpret_cast<std::byte*>(to), digest);
  }
  const Xxh3Tables& tables() const { return kXxh3Tables; }

 private:
  template <typename T>
  T load(const T* from) const {
    T value = {};
    const auto* address = reinterpret_cast<const std::byte*>(from);
    if (const std::byte* bytes = memory_->at(address, sizeof(T), false)) {
      std::memcpy(&value, bytes, sizeof(T));
    }
    return value;
  }

  Memory* memory_;
};

/// Runs a launch's warps, the last one first: their order must not matter.
template <CopyDirection kDirection, int kBytes, class Memory>
void run_warps(const PagedCopyDevice& copy, int64_t num_warps, Memory* memory) {
  HostWarp<Memory> warp(memory);
  PagedCopyBody<HostWarp<Memory>, kDirection, kBytes> body(warp, copy);
  for (int64_t w = num_warps; w-- > 0;) body.copy_tiles(w, num_warps);
}

/// Runs the kernel's body for all tiles, at the alignment class that a launch would choose, over
/// memory to which everything that the copy points to was added.
template <CopyDirection kDirection>
void run_body_on_host(const PagedCopyDevice& copy, int alignment, ShadowMemory* memory) {
  const int64_t warps = copy.num_tiles();
  switch (chunk_alignment(copy, alignment)) {
    case 16:
      return run_warps<kDirection, 16>(copy, warps, memory);
    case 8:
      return run_warps<kDirection, 8>(copy, warps, memory);
    case 4:
      return run_warps<kDirection, 4>(copy, warps, memory);
    case 2:
      return run_warps<kDirection, 2>(copy, warps, memory);
    default:
      return run_warps<kDirection, 1>(copy, warps, memory);
  }
}

}  // namespace kvferry::test
