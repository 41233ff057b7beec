#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "cuda/device_memory.h"
#include "cuda/host/host_memory.h"
#include "cuda/host_registration.h"
#include "kvferry/backend_context.h"
#include "kvferry/clock.h"
#include "kvferry/memory_obj.h"
#include "kvferry/mutex.h"

namespace kvferry {

enum class PoolMemory : uint8_t {
  kHost,
  kPinned,  ///< host memory that CUDA devices copy from and to by themselves
  kDevice,  ///< of a CUDA device: host code must not touch it
};

struct MemoryPoolOptions {
  size_t slot_bytes = 0;  ///< the largest chunk; rounded up to 4 KiB
  size_t num_slots = 0;
  HugePages huge_pages = HugePages::kPrefer;
  PoolMemory memory = PoolMemory::kHost;
  int32_t cuda_device = 0;  ///< of kDevice
};

struct MemoryPoolUsage {
  size_t slot_bytes = 0;
  size_t num_slots = 0;
  size_t used_slots = 0;
  size_t peak_used_slots = 0;
  uint64_t refused = 0;  ///< allocations that found the pool exhausted
};

/// Chunk-sized memory, allocated once and bounded for good. Slots are reused last-in
/// first-out, so that a lightly used pool stays in cache.
///
/// Threads: any thread, internally locked.
/// Owner: must outlive every MemoryObjPtr taken from it; nothing checks that yet.
class MemoryPool final : public MemoryOwner, public MemoryAllocator {
 public:
  /// Errors: kInvalidArgument for a size of 0 or one that overflows; kResourceExhausted when the
  ///   system has no such memory; those of HostRegistration and DeviceMemory.
  static Result<std::unique_ptr<MemoryPool>> create(const MemoryPoolOptions& options);
  ~MemoryPool() override;

  /// An object of `size_bytes`, its layout and digests cleared, its bytes as the last user left
  /// them.
  ///
  /// Errors: kResourceExhausted at once when all slots are in use and the reclaimer, if there is
  ///   one, frees none; kInvalidArgument if size_bytes is larger than a slot (it would never fit).
  Result<MemoryObjPtr> allocate(size_t size_bytes) override;

  /// Waits for a slot until `deadline`. Not for executors: it blocks.
  /// Errors: as allocate, with kDeadlineExceeded in place of kResourceExhausted.
  Result<MemoryObjPtr> allocate_until(size_t size_bytes, TimePoint deadline);

  void set_reclaimer(Reclaimer reclaimer) override;
  std::vector<std::span<std::byte>> regions() const override { return {memory_.bytes}; }

  /// `listener` runs after each release, on the releasing thread. Set before use.
  void set_release_listener(std::function<void()> listener);

  MemoryPoolUsage usage() const;
  /// Names the use that the slot at `address` is in: another number after each reuse, 0 while it is
  /// free or if the address is not the pool's. Whoever kept the number can tell that it was reused.
  uint64_t use_at(const std::byte* address) const;
  size_t bytes() const { return slot_bytes_ * objects_.size(); }
  /// Bytes of it that lie in huge pages right now; slow.
  size_t huge_page_bytes() const { return memory_.host.huge_page_bytes(); }

 private:
  struct Memory {
    HostBuffer host;
    std::optional<HostRegistration> registration;
    std::optional<DeviceMemory> device;
    std::span<std::byte> bytes;
  };
  static Result<Memory> make_memory(size_t bytes, const MemoryPoolOptions& options);

  MemoryPool(Memory memory, const MemoryPoolOptions& options);

  void release(MemoryObj& obj) noexcept override;
  size_t index_of(const std::byte* address) const {
    return static_cast<size_t>(address - memory_.bytes.data()) / slot_bytes_;
  }
  MemoryObjPtr take_slot(size_t size_bytes) KVFERRY_REQUIRES(mutex_);
  MemoryObjPtr try_allocate(size_t size_bytes) KVFERRY_EXCLUDES(mutex_);
  bool reclaim_one() KVFERRY_EXCLUDES(mutex_);
  Status check_size(size_t size_bytes) const;

  Memory memory_;
  const size_t slot_bytes_;
  std::vector<std::unique_ptr<MemoryObj>> objects_;
  std::function<void()> release_listener_;

  mutable Mutex mutex_;
  CondVar slot_released_;
  std::vector<MemoryObj*> free_ KVFERRY_GUARDED_BY(mutex_);
  std::vector<uint64_t> turns_ KVFERRY_GUARDED_BY(mutex_);  // of each slot; odd while it is in use
  size_t peak_used_ KVFERRY_GUARDED_BY(mutex_) = 0;
  uint64_t refused_ KVFERRY_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<Reclaimer> reclaimer_ KVFERRY_GUARDED_BY(mutex_);
  size_t reclaims_ KVFERRY_GUARDED_BY(mutex_) = 0;  // calls of it under way
  CondVar reclaim_ended_;
};

}  // namespace kvferry
