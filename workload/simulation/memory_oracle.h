#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/memory/memory_pool.h"
#include "transports/sim/sim_memory.h"

namespace kvferry {

/// Owns the truth about pool memory in a simulation: bytes that were given to a link under one use
/// of a slot must not be touched under another, nor when the slot is free.
///
/// Threads: one
class MemoryOracle final : public SimMemory {
 public:
  /// `on_violation` hears of each as it happens.
  explicit MemoryOracle(std::function<void(const std::string&)> on_violation)
      : on_violation_(std::move(on_violation)) {}

  /// `pool` is borrowed until the end.
  void watch(const MemoryPool& pool) { pools_.push_back(&pool); }

  uint64_t stamp(std::span<const std::byte> bytes) const override;
  void touch(std::span<const std::byte> bytes, uint64_t stamp, const std::string& what) override;

 private:
  std::vector<const MemoryPool*> pools_;
  const std::function<void(const std::string&)> on_violation_;
};

}  // namespace kvferry
