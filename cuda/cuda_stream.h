#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kvferry/status.h"

struct CUstream_st;  // *: cudaStream_t

namespace kvferry {

class CudaEvent;

/// A stream that somebody else owns: a CudaStream, or the engine.
///
/// CUDA's default stream has no view: it waits for the streams of others, and they for it.
///
/// Threads: any thread
/// Errors:  all: kInvalidArgument for the view of an owner moved from; else as cuda_status(), which
///   may report what earlier work on the device did
class CudaStreamView {
 public:
  CudaStreamView(CUstream_st* stream, int32_t device) : stream_(stream), device_(device) {}
  CudaStreamView(std::nullptr_t, int32_t) = delete;
  CudaStreamView(int, int32_t) = delete;

  CUstream_st* get() const { return stream_; }
  int32_t device() const { return device_; }

  /// What is enqueued after this runs after the event's last record(), on whatever device that was.
  /// An event never recorded delays nothing.
  ///
  /// Stream: enqueues, does not synchronise; `event` may be recorded anew or destroyed at once
  Status wait_for(const CudaEvent& event) const;

  /// Has all that was enqueued so far run?
  Result<bool> is_idle() const;

  /// Waits until it has: for closing and for tests, never for a data path.
  Status synchronize() const;

 private:
  CUstream_st* stream_;
  int32_t device_;
};

enum class CudaStreamPriority : uint8_t {
  kNormal,
  kHigh,  ///< the highest of the device: its work is scheduled first, running work is not stopped
};

/// A stream of one device that does not wait for CUDA's default stream, nor makes it wait.
///
/// Threads: any thread, caller serialises
/// Owner:   the stream, move-only. The destructor does not wait: what was enqueued still runs, and
///   what it uses must stay
class CudaStream {
 public:
  /// Creating one may wait for the device: not for hot paths.
  ///
  /// Errors: kInvalidArgument if there is no such device; else as cuda_status()
  static Result<CudaStream> create(int32_t device,
                                   CudaStreamPriority priority = CudaStreamPriority::kNormal);

  CudaStream(CudaStream&& other) noexcept
      : stream_(std::exchange(other.stream_, nullptr)), device_(std::exchange(other.device_, -1)) {}
  CudaStream& operator=(CudaStream&& other) noexcept {
    if (this == &other) return *this;
    reset();
    stream_ = std::exchange(other.stream_, nullptr);
    device_ = std::exchange(other.device_, -1);
    return *this;
  }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream() { reset(); }

  CudaStreamView view() const { return {stream_, device_}; }

 private:
  CudaStream(CUstream_st* stream, int32_t device) : stream_(stream), device_(device) {}
  void reset() noexcept;

  CUstream_st* stream_;
  int32_t device_;
};

}  // namespace kvferry
