#include "cuda/peer_access.h"

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/cuda_device_guard.h"
#include "cuda/cuda_status.h"

namespace kvferry {

Result<bool> can_access_peer(int32_t device, int32_t peer) {
  int can = 0;
  const cudaError_t error = cudaDeviceCanAccessPeer(&can, device, peer);
  if (error != cudaSuccess) {
    return make_error(cuda_status(error, "asking whether CUDA device " + std::to_string(device) +
                                             " can access memory of device " +
                                             std::to_string(peer)));
  }
  return can != 0 || device == peer;
}

Status enable_peer_access(int32_t device, int32_t peer) {
  KVFERRY_ASSIGN_OR_RETURN(const bool can, can_access_peer(device, peer));
  if (!can) {
    return make_error(StatusCode::kFailedPrecondition,
                      "CUDA device " + std::to_string(device) + " cannot access memory of device " +
                          std::to_string(peer) + "; copy through host memory");
  }
  if (device == peer) return Status();
  const CudaDeviceGuard guard(device);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  const cudaError_t error = cudaDeviceEnablePeerAccess(peer, 0);
  if (error == cudaErrorPeerAccessAlreadyEnabled) {
    drop_cuda_error(error);
    return Status();
  }
  if (error == cudaSuccess) return Status();
  return cuda_status(error, "enabling access of CUDA device " + std::to_string(device) +
                                " to memory of device " + std::to_string(peer));
}

}  // namespace kvferry
