#pragma once

#include <string_view>

#include "kvferry/status.h"

namespace kvferry {

/// What a CUDA runtime call returned (a cudaError_t), as a Status; takes the error back from the
/// thread, where the runtime would report it once more to whoever asks next.
///
/// Threads: any thread, the one that made the call
/// Errors:  kNotFound: no driver, one too old, or no device;
///   kDeviceLost: the context is dead and all later calls will say so (sticky errors);
///   kResourceExhausted: out of memory or of another of the device's resources;
///   kInvalidArgument: no such device, address, handle or size;
///   kAlreadyExists: host memory is registered already;
///   kFailedPrecondition: not in this state (not ready, stream being captured, no context);
///   kUnimplemented: not supported by this device or driver; kPermissionDenied;
///   kUnavailable: the device or the exporting process cannot serve now; kInternal: all others
/// Source:  driver_types.h of CUDA 13.0: sticky is what leaves the process in an inconsistent state
Status cuda_status(int error, std::string_view operation);

/// For destructors: drops an error (cudaErrorCudartUnloading, at the end of a process, is none), so
/// that the thread does not keep it.
void drop_cuda_error(int error) noexcept;

}  // namespace kvferry
