// In builds without CUDA.

#include "transports/host_offload/factory.h"

namespace kvferry {

Result<std::unique_ptr<Transport>> make_host_offload_transport(int32_t /*device*/) {
  return make_error(StatusCode::kUnimplemented,
                    "built without CUDA; configure with nvcc on PATH or KVFERRY_CUDA=ON");
}

}  // namespace kvferry
