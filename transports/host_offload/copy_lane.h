#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/cuda_event.h"
#include "cuda/cuda_stream.h"
#include "kvferry/status.h"

namespace kvferry {

/// What one link copies with: a stream, and an event for each copy that may be under way. All are
/// made in advance, for making one may wait for the device.
struct CopyLane {
  CudaStream stream;
  std::vector<CudaEvent> events;

  /// Errors: kInvalidArgument if there is no such device; else as cuda_status()
  static Result<CopyLane> create(int32_t device, size_t max_copies = 16);
};

}  // namespace kvferry
