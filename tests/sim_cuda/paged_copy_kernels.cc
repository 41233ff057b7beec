#include "tests/sim_cuda/paged_copy_kernels.h"

#include <cstring>
#include <string>

#include "tests/sim_cuda/sim_cuda.h"
#include "tests/support/host_warp.h"

namespace kvferry::test {
namespace {

template <CopyDirection kDirection, int kBytes>
void register_kernel() {
  const std::string name =
      "kvferry::(anonymous namespace)::paged_copy_kernel<(kvferry::CopyDirection)" +
      std::to_string(static_cast<int>(kDirection)) + ", " + std::to_string(kBytes) + ">";
  sim_cuda::register_kernel(
      name, sizeof(PagedCopyDevice),
      [](const sim_cuda::KernelLaunch& launch, sim_cuda::KernelMemory& memory) {
        PagedCopyDevice copy;
        std::memcpy(&copy, launch.parameters, sizeof(copy));
        const int64_t warps = int64_t{launch.num_blocks} * launch.block_threads / kWarpLanes;
        run_warps<kDirection, kBytes>(copy, warps, &memory);
      });
}

template <CopyDirection kDirection>
void register_direction() {
  register_kernel<kDirection, 16>();
  register_kernel<kDirection, 8>();
  register_kernel<kDirection, 4>();
  register_kernel<kDirection, 2>();
  register_kernel<kDirection, 1>();
}

}  // namespace

void register_paged_copy_kernels() {
  register_direction<CopyDirection::kGather>();
  register_direction<CopyDirection::kScatter>();
}

}  // namespace kvferry::test
