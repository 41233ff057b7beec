#pragma once

#include <cstdint>

#include "cuda/cuda_stream.h"
#include "kvferry/status.h"

namespace kvferry {

/// Makes a CUDA device the current one of this thread until the end of the scope.
///
/// Going back to a device initialises its context, if it has none yet: a thread that works for
/// device 1 and never chose a device ends with a context on device 0 (hundreds of MB there). Such a
/// thread holds one guard for as long as it runs; those inside it then change nothing.
///
/// Threads: the one that made it
/// Errors:  status(): kInvalidArgument if there is no such device; else as cuda_status(). The
///   device is then the one it was
/// Source:  CUDA 12.0 release notes: cudaSetDevice() initialises the device's context
class CudaDeviceGuard {
 public:
  explicit CudaDeviceGuard(int32_t device);
  /// Of the stream's device. status() is kInvalidArgument for a view of no stream (of an owner
  /// moved from), which CUDA would take for its default stream.
  explicit CudaDeviceGuard(CudaStreamView stream);
  CudaDeviceGuard(const CudaDeviceGuard&) = delete;
  CudaDeviceGuard& operator=(const CudaDeviceGuard&) = delete;
  ~CudaDeviceGuard();

  const Status& status() const { return status_; }

 private:
  void enter(int32_t device);

  int32_t previous_ = -1;  // -1: nothing to restore
  Status status_;
};

}  // namespace kvferry
