#pragma once

#include <cstdint>
#include <utility>

#include "cuda/cuda_stream.h"
#include "kvferry/status.h"

struct CUevent_st;  // *: cudaEvent_t

namespace kvferry {

enum class CudaEventTiming : uint8_t {
  kOff,
  kOn,  ///< for elapsed_ms(); slower to record and to wait for
};

/// A mark in a stream: other streams and the host can wait until the stream has come to it.
///
/// Threads: any thread, caller serialises
/// Owner:   the event, move-only. The destructor does not wait; streams that wait for it go on
///   waiting for what it marked
/// Errors:  as cuda_status(), which may report what earlier work on the device did
class CudaEvent {
 public:
  /// Errors: kInvalidArgument if there is no such device; else as cuda_status()
  static Result<CudaEvent> create(int32_t device, CudaEventTiming timing = CudaEventTiming::kOff);

  CudaEvent(CudaEvent&& other) noexcept
      : event_(std::exchange(other.event_, nullptr)), device_(std::exchange(other.device_, -1)) {}
  CudaEvent& operator=(CudaEvent&& other) noexcept {
    if (this == &other) return *this;
    reset();
    event_ = std::exchange(other.event_, nullptr);
    device_ = std::exchange(other.device_, -1);
    return *this;
  }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  ~CudaEvent() { reset(); }

  CUevent_st* get() const { return event_; }
  int32_t device() const { return device_; }

  /// Marks all that is enqueued on `stream` so far, and forgets what it marked before; whoever
  /// waits already, waits for the old mark.
  ///
  /// Stream: enqueues, does not synchronise
  /// Errors: kInvalidArgument if `stream` is another device's, or the view of an owner moved from
  Status record(CudaStreamView stream);

  /// Has the stream come to the mark? True for an event never recorded.
  Result<bool> is_done() const;

  /// Waits until it has: for closing and for tests, never for a data path.
  Status synchronize() const;

 private:
  CudaEvent(CUevent_st* event, int32_t device) : event_(event), device_(device) {}
  void reset() noexcept;

  CUevent_st* event_;
  int32_t device_;
};

/// Milliseconds between two marks, with a resolution of about half a microsecond.
///
/// Errors: kInvalidArgument if one has no timing or was never recorded, or they are of two devices;
///   kFailedPrecondition if a stream has not come to its mark yet; else as cuda_status()
Result<float> elapsed_ms(const CudaEvent& begin, const CudaEvent& end);

/// As CudaStreamView::wait_for, for an event that somebody else owns (a cudaEvent_t).
///
/// Stream: enqueues on `stream`, does not synchronise
/// Errors: kInvalidArgument if `event` is null or `stream` the view of an owner moved from; else as
///   cuda_status()
Status enqueue_wait(CudaStreamView stream, CUevent_st* event);

}  // namespace kvferry
