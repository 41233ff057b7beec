#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kvferry/status.h"

namespace kvferry {

class DeviceMemory;

/// Names device memory to another process of the same machine; travels as bytes.
struct IpcMemoryHandle {
  std::array<std::byte, 64> handle{};  ///< cudaIpcMemHandle_t, of the whole allocation
  uint64_t offset = 0;                 ///< from its begin to what is shared
  uint64_t size = 0;                   ///< of what is shared
};

/// The handle of a whole allocation.
///
/// The importer can reach more than is shared: the allocation, and what CUDA keeps in the same
/// block of 2 MiB. Where that matters, share only allocations of a multiple of 2 MiB.
///
/// Threads: any thread
/// Owner:   `memory` must stay until every importer has closed it, which the caller sees to
/// Errors:  kInvalidArgument if `memory` was moved from; kUnimplemented if the device cannot; else
///   as cuda_status()
/// Source:  CUDA programming guide, "Interprocess Communication"
Result<IpcMemoryHandle> export_memory(const DeviceMemory& memory);

/// Device memory that another process owns, mapped here.
///
/// Threads: any thread, caller serialises
/// Owner:   the mapping, move-only. Destroy it when no queued work can touch the memory, and before
///   the exporter frees it; this may wait for the device: not for hot paths
class ImportedMemory {
 public:
  /// `device` is the one that will use it, by peer access if the memory lies on another.
  ///
  /// Errors: kInvalidArgument if the handle is none, or there is no such device;
  ///   kFailedPrecondition in the process that exported it; kResourceExhausted if the device has
  ///   too many peers; kUnavailable if it cannot be mapped, as when its exporter is gone;
  ///   kUnimplemented if the devices cannot; else as cuda_status()
  static Result<ImportedMemory> open(int32_t device, const IpcMemoryHandle& handle);

  ImportedMemory(ImportedMemory&& other) noexcept
      : allocation_(std::exchange(other.allocation_, nullptr)),
        bytes_(std::exchange(other.bytes_, std::span<std::byte>())),
        device_(std::exchange(other.device_, -1)) {}
  ImportedMemory& operator=(ImportedMemory&& other) noexcept {
    if (this == &other) return *this;
    reset();
    allocation_ = std::exchange(other.allocation_, nullptr);
    bytes_ = std::exchange(other.bytes_, std::span<std::byte>());
    device_ = std::exchange(other.device_, -1);
    return *this;
  }
  ImportedMemory(const ImportedMemory&) = delete;
  ImportedMemory& operator=(const ImportedMemory&) = delete;
  ~ImportedMemory() { reset(); }

  std::byte* data() const { return bytes_.data(); }
  size_t size() const { return bytes_.size(); }
  int32_t device() const { return device_; }
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  ImportedMemory(void* allocation, std::span<std::byte> bytes, int32_t device)
      : allocation_(allocation), bytes_(bytes), device_(device) {}
  void reset() noexcept;

  void* allocation_;  // what CUDA mapped; bytes_ lie in it
  std::span<std::byte> bytes_;
  int32_t device_;
};

}  // namespace kvferry
