#include "cuda/host/streaming_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kvferry {
namespace {

#if defined(__x86_64__)
constexpr size_t kLineBytes = 64;
constexpr size_t kStepBytes = 4 * kLineBytes;
constexpr size_t kPrefetchBytes = 4096;

// Both copy whole steps from and to `to` 64-byte aligned.
__attribute__((target("avx512f"))) void stream_steps_avx512(std::byte* to, const std::byte* from,
                                                            size_t steps) {
  for (; steps > 0; --steps, to += kStepBytes, from += kStepBytes) {
    for (size_t line = 0; line < kStepBytes; line += kLineBytes) {
      _mm_prefetch(from + kPrefetchBytes + line, _MM_HINT_T0);
    }
    for (size_t line = 0; line < kStepBytes; line += kLineBytes) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to + line), _mm512_loadu_si512(from + line));
    }
  }
  _mm_sfence();
}

__attribute__((target("avx2"))) void stream_steps_avx2(std::byte* to, const std::byte* from,
                                                       size_t steps) {
  for (; steps > 0; --steps, to += kStepBytes, from += kStepBytes) {
    for (size_t line = 0; line < kStepBytes; line += kLineBytes) {
      _mm_prefetch(from + kPrefetchBytes + line, _MM_HINT_T0);
    }
    for (size_t half = 0; half < kStepBytes; half += kLineBytes / 2) {
      const auto* source = reinterpret_cast<const __m256i*>(from + half);
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to + half), _mm256_loadu_si256(source));
    }
  }
  _mm_sfence();
}

void streaming_copy_x86(std::byte* to, const std::byte* from, size_t bytes, SimdLevel level) {
  const size_t misaligned = reinterpret_cast<uintptr_t>(to) % kLineBytes;
  const size_t head = std::min(bytes, misaligned == 0 ? 0 : kLineBytes - misaligned);
  std::memcpy(to, from, head);
  to += head;
  from += head;
  bytes -= head;
  const size_t steps = bytes / kStepBytes;
  (level == SimdLevel::kAvx512 ? stream_steps_avx512 : stream_steps_avx2)(to, from, steps);
  const size_t done = steps * kStepBytes;
  std::memcpy(to + done, from + done, bytes - done);
}
#endif

}  // namespace

void streaming_copy(void* to, const void* from, size_t bytes, SimdLevel level) {
#if defined(__x86_64__)
  if (level != SimdLevel::kPortable && bytes > 0) {
    return streaming_copy_x86(static_cast<std::byte*>(to), static_cast<const std::byte*>(from),
                              bytes, level);
  }
#endif
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void streaming_copy(void* to, const void* from, size_t bytes) {
  streaming_copy(to, from, bytes, best_simd_level());
}

}  // namespace kvferry
