#include "tests/sim_cuda/paged_copy_kernels.h"
#include "tests/sim_cuda/sim_cuda.h"
#include "tests/sim_cuda/sim_runtime.h"
#include "tests/support/cuda_test.h"

namespace kvferry::test {

void begin_cuda(uint64_t seed) {
  register_paged_copy_kernels();
  sim_cuda::begin({.seed = seed});
}

std::vector<std::string> end_cuda() { return sim_cuda::end(); }

bool lose_device(int32_t device) {
  sim_cuda::Runtime::get().set_fault(device, cudaErrorIllegalAddress);
  return true;
}

}  // namespace kvferry::test
