#include "cuda/cuda_stream.h"

#include <cuda_runtime_api.h>

#include "cuda/cuda_device_guard.h"
#include "cuda/cuda_event.h"
#include "cuda/cuda_status.h"

namespace kvferry {

Status CudaStreamView::wait_for(const CudaEvent& event) const {
  return enqueue_wait(*this, event.get());
}

Result<bool> CudaStreamView::is_idle() const {
  const CudaDeviceGuard guard(*this);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  const cudaError_t error = cudaStreamQuery(stream_);
  if (error == cudaErrorNotReady) {
    drop_cuda_error(error);
    return false;
  }
  KVFERRY_RETURN_IF_ERROR(cuda_status(error, "looking whether a stream is idle"));
  return true;
}

Status CudaStreamView::synchronize() const {
  const CudaDeviceGuard guard(*this);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  return cuda_status(cudaStreamSynchronize(stream_), "waiting for a stream");
}

Result<CudaStream> CudaStream::create(int32_t device, CudaStreamPriority priority) {
  const CudaDeviceGuard guard(device);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  int lowest = 0;
  int highest = 0;
  KVFERRY_RETURN_IF_ERROR(cuda_status(cudaDeviceGetStreamPriorityRange(&lowest, &highest),
                                      "asking for the priorities of streams"));
  cudaStream_t stream = nullptr;
  KVFERRY_RETURN_IF_ERROR(
      cuda_status(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking,
                                               priority == CudaStreamPriority::kHigh ? highest : 0),
                  "creating a stream"));
  return CudaStream(stream, device);
}

void CudaStream::reset() noexcept {
  if (stream_ == nullptr) return;
  const CudaDeviceGuard guard(device_);
  drop_cuda_error(cudaStreamDestroy(stream_));
  stream_ = nullptr;
}

}  // namespace kvferry
