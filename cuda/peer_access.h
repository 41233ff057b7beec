#pragma once

#include <cstdint>

#include "kvferry/status.h"

namespace kvferry {

/// Can `device` reach the memory of `peer` over NVLink or PCIe? A device can reach its own.
///
/// Threads: any thread
/// Errors:  kInvalidArgument if there is no such device; else as cuda_status()
Result<bool> can_access_peer(int32_t device, int32_t peer);

/// Lets kernels and copies of `device` use the memory of `peer` from now on, and only that way
/// round. Stays for the life of the process; OK if it was so before.
///
/// Threads: any thread
/// Cost:    maps all of the peer's memory, present and future: once, at the start
/// Errors:  kInvalidArgument if there is no such device; kFailedPrecondition if the hardware
///   cannot; kResourceExhausted if the device has too many peers; else as cuda_status()
Status enable_peer_access(int32_t device, int32_t peer);

}  // namespace kvferry
