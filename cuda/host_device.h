#pragma once

/// Marks a function that both the host compiler and nvcc's device pass compile.
#if defined(__CUDACC__)
#define KVFERRY_HD __host__ __device__
#define KVFERRY_UNROLL _Pragma("unroll")
#else
#define KVFERRY_HD
#define KVFERRY_UNROLL
#endif
