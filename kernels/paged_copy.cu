#include <algorithm>
#include <string>
#include <type_traits>

#include "cuda/cuda_device_guard.h"
#include "cuda/cuda_status.h"
#include "kernels/paged_copy_cuda.h"

namespace kvferry {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpLanes;

__constant__ const Xxh3Tables kTables = kXxh3Tables;

// A warp of the device: each thread is one lane and holds its own value of every Lanes<T>.
struct DeviceWarp {
  template <typename T>
  struct Lanes {
    T value;
    __device__ __forceinline__ T& operator[](int) { return value; }
    __device__ __forceinline__ const T& operator[](int) const { return value; }
  };

  template <typename F>
  __device__ __forceinline__ void for_lanes(F body) const {
    body(static_cast<int>(threadIdx.x % kWarpLanes));
  }
  __device__ __forceinline__ Lanes<uint64_t> shuffle_xor(const Lanes<uint64_t>& lanes,
                                                         int mask) const {
    return {__shfl_xor_sync(0xFFFFFFFFU, static_cast<unsigned long long>(lanes.value), mask)};
  }

  // .cs: chunks and pages pass by once, and should not push weights out of L2.
  template <int kBytes>
  __device__ __forceinline__ auto load_data(const std::byte* from) const {
    if constexpr (kBytes == 16) {
      const ulonglong2 data = __ldcs(reinterpret_cast<const ulonglong2*>(from));
      return Vector16{{data.x, data.y}};
    } else {
      return static_cast<uint64_t>(__ldcs(reinterpret_cast<const Word<kBytes>*>(from)));
    }
  }
  template <int kBytes, typename T>
  __device__ __forceinline__ void store_data(std::byte* to, const T& data) const {
    if constexpr (kBytes == 16) {
      __stcs(reinterpret_cast<ulonglong2*>(to), make_ulonglong2(data.words[0], data.words[1]));
    } else {
      __stcs(reinterpret_cast<Word<kBytes>*>(to), static_cast<Word<kBytes>>(data));
    }
  }

  __device__ __forceinline__ PagedCopyPlane load_plane(const PagedCopyPlane* plane) const {
    return *plane;
  }
  __device__ __forceinline__ int64_t load_slot(const int64_t* slot) const { return __ldg(slot); }
  __device__ __forceinline__ void store_digest(uint64_t* to, uint64_t digest) const {
    *to = digest;
  }
  __device__ __forceinline__ const Xxh3Tables& tables() const { return kTables; }

 private:
  template <int kBytes>
  using Word = std::conditional_t<
      kBytes == 8, unsigned long long,
      std::conditional_t<kBytes == 4, unsigned int,
                         std::conditional_t<kBytes == 2, unsigned short, unsigned char>>>;
};

// Grid:   any number of blocks; warps take tiles in turn
// Block:  256 threads, 8 warps, a tile each
// Shared: none
// Flight: 64 bytes a lane, 16 KiB a block
// Needs:  kBytes divides every address and stride; launch_paged_copy sees to it
// Regs:   two blocks an SM; left to itself ptxas spills for a third (tests/kernels/ptx)
// Speed:  not measured: no GPU was at hand
// Source: geometry after SGLang's warp-per-row kernels, hint after LMCache's multi-layer kernel
template <CopyDirection kDirection, int kBytes>
__global__ void __launch_bounds__(kThreads, 2) paged_copy_kernel(const PagedCopyDevice copy) {
  DeviceWarp warp;
  PagedCopyBody<DeviceWarp, kDirection, kBytes> body(warp, copy);
  const int64_t first = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpLanes;
  body.copy_tiles(first, int64_t{gridDim.x} * kWarps);
}

using Kernel = void (*)(PagedCopyDevice);

template <CopyDirection kDirection>
Kernel kernel_for(int alignment) {
  switch (alignment) {
    case 16:
      return paged_copy_kernel<kDirection, 16>;
    case 8:
      return paged_copy_kernel<kDirection, 8>;
    case 4:
      return paged_copy_kernel<kDirection, 4>;
    case 2:
      return paged_copy_kernel<kDirection, 2>;
    case 1:
      return paged_copy_kernel<kDirection, 1>;
  }
  return nullptr;
}

}  // namespace

Status launch_paged_copy(const PagedCopyDevice& copy, const PagedCopyLaunch& launch,
                         CudaStreamView stream) {
  if (launch.max_row_bytes > ((int64_t{1} << 31) - kTileBlockBytes) / kTileTokens) {
    return Status(StatusCode::kInvalidArgument,
                  "a row of " + std::to_string(launch.max_row_bytes) +
                      " bytes makes a tile of 2 GiB or more, which the kernel does not take");
  }
  const int alignment = chunk_alignment(copy, launch.alignment);
  const Kernel kernel = launch.direction == CopyDirection::kGather
                            ? kernel_for<CopyDirection::kGather>(alignment)
                            : kernel_for<CopyDirection::kScatter>(alignment);
  if (kernel == nullptr) {
    return Status(StatusCode::kInvalidArgument, "alignment is " + std::to_string(launch.alignment) +
                                                    "; give PagedCopy::alignment()");
  }
  const int64_t num_tiles = copy.num_tiles();
  if (num_tiles == 0) return Status();
  int64_t blocks = std::min<int64_t>((num_tiles + kWarps - 1) / kWarps, INT32_MAX);
  if (launch.max_thread_blocks > 0) blocks = std::min<int64_t>(blocks, launch.max_thread_blocks);
  const CudaDeviceGuard guard(stream);
  KVFERRY_RETURN_IF_ERROR(guard.status());
  kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream.get()>>>(copy);
  return cuda_status(cudaGetLastError(), "launch of a paged copy, or earlier work on its device");
}

}  // namespace kvferry
