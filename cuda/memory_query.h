#pragma once

#include <cstdint>

#include "kvferry/status.h"

namespace kvferry {

/// What kind of memory an address lies in.
struct MemoryPlace {
  enum class Kind : uint8_t {
    kPageableHost,  ///< all that CUDA does not know, even addresses that are nobody's
    kPinnedHost,    ///< allocated by CUDA, or registered
    kDevice,
    kManaged,
  };

  Kind kind = Kind::kPageableHost;
  int32_t device = -1;  ///< where it lies; for kPinnedHost and kManaged: through which it was made

  bool operator==(const MemoryPlace&) const = default;
};

/// Asks CUDA about an address, which may lie anywhere in an allocation.
///
/// Threads: any thread
/// Errors:  kInvalidArgument if `address` is null; kUnimplemented if kvferry was built without
///   CUDA; else as cuda_status()
Result<MemoryPlace> find_memory(const void* address);

}  // namespace kvferry
