#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kvferry/status.h"

namespace kvferry {

/// Memory of one CUDA device, aligned to 256 bytes, contents undefined.
///
/// Host code must not read or write it: data() is an address for copies and kernels.
///
/// Threads: any thread, caller serialises
/// Owner:   the allocation, move-only. Destroy it when it is quiet, that is when no queued work can
///   touch it; freeing may wait for the whole device: not for hot paths
class DeviceMemory {
 public:
  /// Errors: kInvalidArgument if bytes is 0 or there is no such device; kResourceExhausted if the
  ///   device has not that much left; kUnimplemented if kvferry was built without CUDA; else as
  ///   cuda_status()
  static Result<DeviceMemory> create(int32_t device, size_t bytes);

  DeviceMemory(DeviceMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        device_(std::exchange(other.device_, -1)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    if (this == &other) return *this;
    reset();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    device_ = std::exchange(other.device_, -1);
    return *this;
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() { reset(); }

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  int32_t device() const { return device_; }
  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  DeviceMemory(std::byte* data, size_t size, int32_t device)
      : data_(data), size_(size), device_(device) {}
  void reset() noexcept;

  std::byte* data_;
  size_t size_;
  int32_t device_;
};

}  // namespace kvferry
