#include "cuda/cuda_device_guard.h"

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/cuda_status.h"

namespace kvferry {

CudaDeviceGuard::CudaDeviceGuard(int32_t device) { enter(device); }

CudaDeviceGuard::CudaDeviceGuard(CudaStreamView stream) {
  if (stream.get() == nullptr) {
    status_ = Status(StatusCode::kInvalidArgument,
                     "no stream, which would be CUDA's default one; give a stream of your own");
    return;
  }
  enter(stream.device());
}

CudaDeviceGuard::~CudaDeviceGuard() {
  if (previous_ >= 0) drop_cuda_error(cudaSetDevice(previous_));
}

void CudaDeviceGuard::enter(int32_t device) {
  int current = -1;
  status_ = cuda_status(cudaGetDevice(&current), "asking for the current CUDA device");
  if (!status_.is_ok() || current == device) return;
  if (const cudaError_t error = cudaSetDevice(device); error != cudaSuccess) {
    status_ = cuda_status(error, "making CUDA device " + std::to_string(device) + " current");
    return;
  }
  previous_ = current;
}

}  // namespace kvferry
