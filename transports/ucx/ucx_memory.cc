#include "transports/ucx/ucx_memory.h"

#include "cuda/device_query.h"
#include "cuda/memory_query.h"
#include "transports/ucx/ucx_handles.h"

namespace kvferry {

bool has_cuda_device() { return query_cuda_devices().has_value(); }

bool ucx_moves_device_memory() {
  const Result<UcxContext> context = UcxContext::create({"self,cuda", UcxErrorMode::kPeer}, false);
  return context && context->moves_device_memory();
}

Result<ucs_memory_type_t> find_ucx_memory_type(const void* address) {
  KVFERRY_ASSIGN_OR_RETURN(const MemoryPlace place, find_memory(address));
  switch (place.kind) {
    case MemoryPlace::Kind::kDevice:
      return UCS_MEMORY_TYPE_CUDA;
    case MemoryPlace::Kind::kManaged:
      return UCS_MEMORY_TYPE_CUDA_MANAGED;
    case MemoryPlace::Kind::kPageableHost:
    case MemoryPlace::Kind::kPinnedHost:
      break;
  }
  return UCS_MEMORY_TYPE_HOST;
}

}  // namespace kvferry
