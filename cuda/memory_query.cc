#include "cuda/memory_query.h"

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/cuda_status.h"

namespace kvferry {

Result<MemoryPlace> find_memory(const void* address) {
  if (address == nullptr) {
    return make_error(StatusCode::kInvalidArgument, "the address to find is null");
  }
  cudaPointerAttributes attributes{};
  KVFERRY_RETURN_IF_ERROR(
      cuda_status(cudaPointerGetAttributes(&attributes, address), "looking up an address"));
  switch (attributes.type) {
    case cudaMemoryTypeUnregistered:
      return MemoryPlace{};
    case cudaMemoryTypeHost:
      return MemoryPlace{MemoryPlace::Kind::kPinnedHost, attributes.device};
    case cudaMemoryTypeDevice:
      return MemoryPlace{MemoryPlace::Kind::kDevice, attributes.device};
    case cudaMemoryTypeManaged:
      return MemoryPlace{MemoryPlace::Kind::kManaged, attributes.device};
  }
  return make_error(StatusCode::kInternal,
                    "CUDA knows a kind of memory that kvferry does not: cudaMemoryType " +
                        std::to_string(attributes.type));
}

}  // namespace kvferry
