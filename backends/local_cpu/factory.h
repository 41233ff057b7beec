#pragma once

#include <cstddef>
#include <memory>

#include "kvferry/cache_policy.h"
#include "kvferry/storage_backend.h"

namespace kvferry {

struct LocalCpuOptions {
  CachePolicy policy = CachePolicy::kLru;
  size_t max_bytes = 0;            ///< of the chunks it keeps
  size_t typical_chunk_bytes = 0;  ///< sizes the policy's queues; 0: unknown
};

/// Keeps chunks where they are, in the memory of the context's allocator, which it tells how to
/// make room (MemoryAllocator::set_reclaimer).
///
/// Errors: kInvalidArgument if max_bytes is 0.
Result<std::unique_ptr<StorageBackend>> make_local_cpu_backend(BackendContext context,
                                                               const LocalCpuOptions& options);

}  // namespace kvferry
