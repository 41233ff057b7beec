#pragma once

#include <ucs/memory/memory_type.h>

#include "kvferry/status.h"

namespace kvferry {

/// Has this process a CUDA device, so that an address may be one of device memory?
bool has_cuda_device();

/// Does the UCX that was loaded move device memory, on this machine? Asked of a context that has
/// nothing but its CUDA transports.
///
/// Cost: that context, about a millisecond
bool ucx_moves_device_memory();

/// What UCX is to be told of an address, which it then need not find out.
///
/// Errors: as find_memory()
Result<ucs_memory_type_t> find_ucx_memory_type(const void* address);

}  // namespace kvferry
