#pragma once

#include <cstddef>
#include <memory>
#include <set>
#include <vector>

#include "kvferry/backend_context.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// Memory that notices misuse: what comes back is poisoned, and must still be so when it is given
/// again, and at the end.
///
/// Threads: any thread, internally locked.
class PoisonedAllocator final : public MemoryAllocator, public MemoryOwner {
 public:
  PoisonedAllocator(size_t object_bytes, size_t num_objects);
  ~PoisonedAllocator() override;

  Result<MemoryObjPtr> allocate(size_t size_bytes) override;
  void set_reclaimer(Reclaimer reclaimer) override;
  std::vector<std::span<std::byte>> regions() const override;

  bool owns(const MemoryObj& obj) const;
  size_t num_objects() const { return objects_.size(); }
  size_t used() const;
  /// Waits until at most `used` objects are out; false when `deadline` passed first.
  bool wait_until_used(size_t used, TimePoint deadline);
  /// kDataLoss if something wrote into memory that it had given back.
  Status check_quiet();

 private:
  void release(MemoryObj& obj) noexcept override;
  MemoryObjPtr take(size_t size_bytes) KVFERRY_REQUIRES(mutex_);
  void note_writes(const MemoryObj& obj) KVFERRY_REQUIRES(mutex_);

  struct FreeMemory {
    void operator()(std::byte* memory) const;
  };

  const size_t object_bytes_;
  std::unique_ptr<std::byte[], FreeMemory> memory_;
  std::vector<std::unique_ptr<MemoryObj>> objects_;

  mutable Mutex mutex_;
  CondVar released_;
  std::vector<MemoryObj*> free_ KVFERRY_GUARDED_BY(mutex_);
  size_t num_late_writes_ KVFERRY_GUARDED_BY(mutex_) = 0;

  Mutex reclaimer_mutex_;  // held while it runs
  Reclaimer reclaimer_ KVFERRY_GUARDED_BY(reclaimer_mutex_);
};

}  // namespace kvferry
