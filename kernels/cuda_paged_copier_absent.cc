// In builds without CUDA.

#include "kernels/cuda_paged_copier.h"

namespace kvferry {

Result<std::unique_ptr<PagedCopier>> make_cuda_paged_copier(const CudaPagedCopierOptions&) {
  return make_error(StatusCode::kUnimplemented,
                    "built without CUDA; configure with nvcc on PATH or KVFERRY_CUDA=ON");
}

}  // namespace kvferry
