#pragma once

#if defined(__CUDACC__)
/// Marks a function that both the host compiler and nvcc's device pass compile.
#define KVFERRY_HD __host__ __device__
/// The same, and never a call on the device: for code whose state must stay in registers.
#define KVFERRY_HD_INLINE __host__ __device__ __forceinline__
#else
#define KVFERRY_HD
#define KVFERRY_HD_INLINE inline
#endif

/// Before a loop that the device must unroll.
#if defined(__CUDA_ARCH__)
#define KVFERRY_UNROLL _Pragma("unroll")
#else
#define KVFERRY_UNROLL
#endif
