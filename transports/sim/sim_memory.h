#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace kvferry {

/// Knows who may touch which bytes; the simulated links ask it before they do.
class SimMemory {
 public:
  virtual ~SimMemory() = default;

  /// Names what `bytes` are now: 0 if they belong to no pool, else another number after each reuse.
  virtual uint64_t stamp(std::span<const std::byte> bytes) const = 0;
  /// `what` is about to touch bytes that it was given under `stamp`. Records a violation when they
  /// have been reused or released since.
  virtual void touch(std::span<const std::byte> bytes, uint64_t stamp, const std::string& what) = 0;
};

}  // namespace kvferry
