#include "cuda/cuda_status.h"

#include <cuda_runtime_api.h>

#include <string>

namespace kvferry {
namespace {

StatusCode code_of(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return StatusCode::kOk;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
      return StatusCode::kNotFound;
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice:
      return StatusCode::kDeviceLost;
    case cudaErrorMemoryAllocation:
    case cudaErrorLaunchOutOfResources:
    case cudaErrorTooManyPeers:
    case cudaErrorMpsMaxClientsReached:
    case cudaErrorMpsMaxConnectionsReached:
      return StatusCode::kResourceExhausted;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidDevice:
    case cudaErrorInvalidPitchValue:
    case cudaErrorInvalidHostPointer:
    case cudaErrorInvalidDevicePointer:
    case cudaErrorInvalidMemcpyDirection:
    case cudaErrorInvalidResourceHandle:
    case cudaErrorHostMemoryNotRegistered:
      return StatusCode::kInvalidArgument;
    case cudaErrorHostMemoryAlreadyRegistered:
      return StatusCode::kAlreadyExists;
    case cudaErrorCudartUnloading:
    case cudaErrorDeviceUninitialized:
    case cudaErrorIllegalState:
    case cudaErrorNotReady:
    case cudaErrorPeerAccessNotEnabled:
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureIsolation:
    case cudaErrorStreamCaptureImplicit:
    case cudaErrorCapturedEvent:
      return StatusCode::kFailedPrecondition;
    case cudaErrorStubLibrary:
    case cudaErrorCallRequiresNewerDriver:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorPeerAccessUnsupported:
    case cudaErrorNotSupported:
      return StatusCode::kUnimplemented;
    case cudaErrorNotPermitted:
      return StatusCode::kPermissionDenied;
    case cudaErrorDevicesUnavailable:
    case cudaErrorMapBufferObjectFailed:
    case cudaErrorSystemNotReady:
    case cudaErrorMpsServerNotReady:
      return StatusCode::kUnavailable;
    default:
      return StatusCode::kInternal;
  }
}

}  // namespace

Status cuda_status(int error, std::string_view operation) {
  if (error == cudaSuccess) return Status();
  cudaGetLastError();
  const auto code = static_cast<cudaError_t>(error);
  std::string message(operation);
  message.append(": ").append(cudaGetErrorName(code));
  message.append(", ").append(cudaGetErrorString(code));
  return Status::native(code_of(code), ErrorDomain::kCuda, error, std::move(message));
}

void drop_cuda_error(int error) noexcept {
  if (error != cudaSuccess) cudaGetLastError();
}

}  // namespace kvferry
