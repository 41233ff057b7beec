#include "cuda/cuda_event.h"

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/cuda_device_guard.h"
#include "cuda/cuda_status.h"

namespace kvferry {

Result<CudaEvent> CudaEvent::create(int32_t device, CudaEventTiming timing) {
  const CudaDeviceGuard guard(device);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  cudaEvent_t event = nullptr;
  const unsigned flags = timing == CudaEventTiming::kOn ? cudaEventDefault : cudaEventDisableTiming;
  KVFERRY_RETURN_IF_ERROR(
      cuda_status(cudaEventCreateWithFlags(&event, flags), "creating an event"));
  return CudaEvent(event, device);
}

Status CudaEvent::record(CudaStreamView stream) {
  const CudaDeviceGuard guard(stream);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  if (stream.device() != device_) {
    return make_error(StatusCode::kInvalidArgument,
                      "an event of device " + std::to_string(device_) +
                          " cannot be recorded on a stream of device " +
                          std::to_string(stream.device()) + "; record one of the stream's device");
  }
  return cuda_status(cudaEventRecord(event_, stream.get()), "recording an event");
}

Result<bool> CudaEvent::is_done() const {
  const CudaDeviceGuard guard(device_);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  const cudaError_t error = cudaEventQuery(event_);
  if (error == cudaErrorNotReady) {
    drop_cuda_error(error);
    return false;
  }
  KVFERRY_RETURN_IF_ERROR(cuda_status(error, "looking whether an event is done"));
  return true;
}

Status CudaEvent::synchronize() const {
  const CudaDeviceGuard guard(device_);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  return cuda_status(cudaEventSynchronize(event_), "waiting for an event");
}

void CudaEvent::reset() noexcept {
  if (event_ == nullptr) return;
  const CudaDeviceGuard guard(device_);
  drop_cuda_error(cudaEventDestroy(event_));
  event_ = nullptr;
}

Result<float> elapsed_ms(const CudaEvent& begin, const CudaEvent& end) {
  const CudaDeviceGuard guard(begin.device());
  KVFERRY_RETURN_IF_ERROR(guard.status());
  float milliseconds = 0;
  KVFERRY_RETURN_IF_ERROR(
      cuda_status(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()),
                  "time between two events, which need timing, one device, and to be done"));
  return milliseconds;
}

Status enqueue_wait(CudaStreamView stream, CUevent_st* event) {
  if (event == nullptr) {
    return make_error(StatusCode::kInvalidArgument, "no event to wait for: it is null");
  }
  const CudaDeviceGuard guard(stream);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  return cuda_status(cudaStreamWaitEvent(stream.get(), event, cudaEventWaitDefault),
                     "making a stream wait for an event");
}

}  // namespace kvferry
