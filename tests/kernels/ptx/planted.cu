// Kernels with one mistake each, for `check_kernels --self-test`; sound<> has none.
#include <cstdint>

namespace planted {

// What the real kernels do: all loads of a round, then its stores, a digest at the end.
template <int kVectors, int kBytes>
__global__ void sound(const ulonglong2* from, ulonglong2* to, uint64_t* digest, int rounds) {
  uint64_t sum = 0;
#pragma unroll 2
  for (int round = 0; round < rounds; ++round) {
    ulonglong2 vectors[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) vectors[v] = from[(round * kVectors + v) * 32];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      to[(round * kVectors + v) * 32] = vectors[v];
      sum += vectors[v].x;
    }
  }
  *digest = sum;
}

template <int kBytes>
__global__ void one_by_one(const ulonglong2* from, ulonglong2* to, int rounds) {
#pragma unroll 4
  for (int i = 0; i < rounds * 4; ++i) to[i * 32] = from[i * 32];
}

template <int kBytes>
__global__ void words(const uint64_t* from, uint64_t* to, int rounds) {
#pragma unroll 4
  for (int i = 0; i < rounds * 4; ++i) to[i * 32] = from[i * 32];
}

template <typename T, int kBytes>
__global__ void narrow_stores(const ulonglong2* from, ulonglong2* to, T* last, int rounds) {
#pragma unroll 1
  for (int round = 0; round < rounds; ++round) {
    ulonglong2 vectors[4];
#pragma unroll
    for (int v = 0; v < 4; ++v) vectors[v] = from[(round * 4 + v) * 32];
#pragma unroll
    for (int v = 0; v < 4; ++v) to[(round * 4 + v) * 32] = vectors[v];
    if (sizeof(T) == 8) last[round] = static_cast<T>(vectors[0].x);
  }
  if (sizeof(T) < 8) *last = 1;
}

// 220 values at once: too many registers, or with the 64 registers of 1024 threads, spills.
template <int kThreads>
__global__ void __launch_bounds__(kThreads, 1) hoard(const int* from, int* to) {
  int values[220];
#pragma unroll
  for (int i = 0; i < 220; ++i) values[i] = from[i * kThreads];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 220; ++i) to[i * kThreads] = values[i] * values[219 - i];
}

__global__ void local_array(const int* from, int* to, int index) {
  int values[64];
  for (int i = 0; i < 64; ++i) values[from[i] & 63] = i;
  *to = values[index];
}

#ifdef KVFERRY_PLANT_WARNING
__global__ void warned() { int unused; }
#endif

template __global__ void sound<4, 16>(const ulonglong2*, ulonglong2*, uint64_t*, int);
template __global__ void sound<2, 16>(const ulonglong2*, ulonglong2*, uint64_t*, int);
template __global__ void sound<2, 8>(const ulonglong2*, ulonglong2*, uint64_t*, int);
template __global__ void one_by_one<16>(const ulonglong2*, ulonglong2*, int);
template __global__ void words<16>(const uint64_t*, uint64_t*, int);
template __global__ void narrow_stores<uint64_t, 16>(const ulonglong2*, ulonglong2*, uint64_t*,
                                                     int);
template __global__ void narrow_stores<uint8_t, 16>(const ulonglong2*, ulonglong2*, uint8_t*, int);
template __global__ void hoard<256>(const int*, int*);
template __global__ void hoard<1024>(const int*, int*);

}  // namespace planted
