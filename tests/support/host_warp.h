#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/paged_copy_body.h"

namespace kvferry::test {

/// Memory that a kernel body may touch, with a count of the writes to each byte.
class ShadowMemory {
 public:
  void add(std::span<std::byte> bytes) {
    regions_.push_back({bytes, std::vector<uint8_t>(bytes.size())});
  }

  /// Notes what is wrong with an access; the first complaint is kept.
  void check(const std::byte* address, size_t bytes, bool writes) {
    if (reinterpret_cast<uintptr_t>(address) % bytes != 0) return complain("misaligned", bytes);
    for (Region& region : regions_) {
      const std::byte* begin = region.bytes.data();
      if (address < begin || address + bytes > begin + region.bytes.size()) continue;
      for (size_t i = 0; writes && i < bytes; ++i) {
        ++region.writes[static_cast<size_t>(address - begin) + i];
      }
      return;
    }
    complain(writes ? "store outside" : "load outside", bytes);
  }

  std::span<const uint8_t> writes(size_t region) const { return regions_[region].writes; }
  const std::string& complaint() const { return complaint_; }

 private:
  struct Region {
    std::span<std::byte> bytes;
    std::vector<uint8_t> writes;
  };

  void complain(const char* what, size_t bytes) {
    if (complaint_.empty()) complaint_ = std::string(what) + " by " + std::to_string(bytes);
  }

  std::vector<Region> regions_;
  std::string complaint_;
};

/// A warp on the host: PagedCopyBody runs all lanes of a phase before the next phase.
class HostWarp {
 public:
  template <typename T>
  struct Lanes {
    std::array<T, kWarpLanes> values;
    T& operator[](int lane) { return values[static_cast<size_t>(lane)]; }
    const T& operator[](int lane) const { return values[static_cast<size_t>(lane)]; }
  };

  explicit HostWarp(ShadowMemory* memory) : memory_(memory) {}

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
    memory_->check(from, kBytes, false);
    std::conditional_t<kBytes == 16, Vector16, uint64_t> data = {};
    if (memory_->complaint().empty()) std::memcpy(&data, from, kBytes);
    return data;
  }
  template <int kBytes, typename T>
  void store_data(std::byte* to, const T& data) const {
    memory_->check(to, kBytes, true);
    if (memory_->complaint().empty()) std::memcpy(to, &data, kBytes);
  }

  PagedCopyPlane load_plane(const PagedCopyPlane* plane) const { return *plane; }
  int64_t load_slot(const int64_t* slot) const { return *slot; }
  void store_digest(uint64_t* to, uint64_t digest) const { *to = digest; }
  const Xxh3Tables& tables() const { return kXxh3Tables; }

 private:
  ShadowMemory* memory_;
};

template <CopyDirection kDirection, int kBytes>
void run_body(const PagedCopyDevice& copy, ShadowMemory* memory) {
  HostWarp warp(memory);
  PagedCopyBody<HostWarp, kDirection, kBytes> body(warp, copy);
  for (int64_t tile = copy.num_tiles(); tile-- > 0;) body.copy_tile(tile);  // order must not matter
}

/// Runs the kernel's body for all tiles, at the alignment class that a launch would choose.
template <CopyDirection kDirection>
void run_body_on_host(const PagedCopyDevice& copy, int alignment, ShadowMemory* memory) {
  while (reinterpret_cast<uintptr_t>(copy.chunk) % static_cast<uintptr_t>(alignment) != 0) {
    alignment /= 2;
  }
  switch (alignment) {
    case 16:
      return run_body<kDirection, 16>(copy, memory);
    case 8:
      return run_body<kDirection, 8>(copy, memory);
    case 4:
      return run_body<kDirection, 4>(copy, memory);
    case 2:
      return run_body<kDirection, 2>(copy, memory);
    default:
      return run_body<kDirection, 1>(copy, memory);
  }
}

}  // namespace kvferry::test
