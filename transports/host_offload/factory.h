#pragma once

#include <cstdint>
#include <memory>

#include "kvferry/status.h"
#include "kvferry/transport.h"

namespace kvferry {

/// Links between executors of one process for device memory and pinned host memory, in every
/// combination: one asynchronous copy, on a stream of the receiver's link, for which no executor
/// waits. Links find one another only if the same Transport object made them; they may outlive it.
///
/// Pageable host memory is refused (kInvalidArgument): CUDA would make the executor wait for it.
/// `device` is where the streams are; memory may be any device's.
///
/// Errors: kNotFound without a driver or a device; kInvalidArgument if there is no such device;
///   kUnimplemented if kvferry was built without CUDA; else as cuda_status()
Result<std::unique_ptr<Transport>> make_host_offload_transport(int32_t device);

}  // namespace kvferry
