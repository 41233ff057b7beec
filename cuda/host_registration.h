#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "kvferry/status.h"

namespace kvferry {

/// Makes host memory that somebody else owns pinned memory of every CUDA device.
///
/// Whole pages are locked. Copies may not span two registrations, even where those touch.
///
/// Threads: any thread, caller serialises
/// Owner:   the registration, move-only; borrows the memory, which must outlive it. Destroy it when
///   no queued work can touch the memory; this may wait for the devices: not for hot paths
class HostRegistration {
 public:
  /// Registers through the thread's current device (and initialises its context). Slow, as it
  /// touches and locks every page: once, at the start.
  ///
  /// Errors: kInvalidArgument if `memory` is empty or not mapped; kAlreadyExists if part of it is
  ///   registered; kResourceExhausted if the host has not that much to lock, or may not;
  ///   kUnimplemented if kvferry was built without CUDA, or the device cannot; else as
  ///   cuda_status()
  static Result<HostRegistration> create(std::span<std::byte> memory);

  HostRegistration(HostRegistration&& other) noexcept
      : memory_(std::exchange(other.memory_, std::span<std::byte>())) {}
  HostRegistration& operator=(HostRegistration&& other) noexcept {
    if (this == &other) return *this;
    reset();
    memory_ = std::exchange(other.memory_, std::span<std::byte>());
    return *this;
  }
  HostRegistration(const HostRegistration&) = delete;
  HostRegistration& operator=(const HostRegistration&) = delete;
  ~HostRegistration() { reset(); }

  std::span<std::byte> bytes() const { return memory_; }

 private:
  explicit HostRegistration(std::span<std::byte> memory) : memory_(memory) {}
  void reset() noexcept;

  std::span<std::byte> memory_;
};

}  // namespace kvferry
