#pragma once

#include <cstddef>

#include "cuda/host/cpu_features.h"

namespace kvferry {

/// Contiguous copy that bypasses the cache on the way out: for destinations not read soon. What a
/// paged copy on this machine is measured against (the better of this and memcpy).
///
/// Layout:  any alignment; ranges must not overlap. Complete and ordered on return.
void streaming_copy(void* to, const void* from, size_t bytes);

/// The same with the instructions of `level`, which the processor must have.
void streaming_copy(void* to, const void* from, size_t bytes, SimdLevel level);

}  // namespace kvferry
