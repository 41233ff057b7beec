#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "kvferry/status.h"

namespace kvferry {

/// Host memory that every CUDA device copies from and to without the CPU, contents undefined.
///
/// Kernels may use the same addresses. Page-locked: it cannot be swapped out.
///
/// Threads: any thread, caller serialises
/// Owner:   the allocation, move-only. Destroy it when it is quiet, that is when no queued work can
///   touch it; freeing may wait for the devices: not for hot paths
class PinnedMemory {
 public:
  /// Allocates through the thread's current device (and initialises its context).
  ///
  /// Errors: kInvalidArgument if bytes is 0; kResourceExhausted if the host has not that much to
  ///   lock; kUnimplemented if kvferry was built without CUDA; else as cuda_status()
  static Result<PinnedMemory> create(size_t bytes);

  PinnedMemory(PinnedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    if (this == &other) return *this;
    reset();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  ~PinnedMemory() { reset(); }

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  PinnedMemory(std::byte* data, size_t size) : data_(data), size_(size) {}
  void reset() noexcept;

  std::byte* data_;
  size_t size_;
};

}  // namespace kvferry
