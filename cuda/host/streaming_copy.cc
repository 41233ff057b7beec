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
constexpr size_t kPrefetchBytes = 8192;

// Whole lines to 64-byte aligned `to`. Prefetch, load and store alternate line by line: in groups
// of four lines the same instructions reach three quarters of the speed. Prefetches may run past
// the end of `from`; they do not fault.
__attribute__((target("avx512f"))) void stream_lines_avx512(std::byte* to, const std::byte* from,
                                                            size_t lines) {
  for (; lines > 0; --lines, to += kLineBytes, from += kLineBytes) {
    _mm_prefetch(from + kPrefetchBytes, _MM_HINT_T1);
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
  }
  _mm_sfence();
}

__attribute__((target("avx2"))) void stream_lines_avx2(std::byte* to, const std::byte* from,
                                                       size_t lines) {
  for (; lines > 0; --lines, to += kLineBytes, from += kLineBytes) {
    const auto* source = reinterpret_cast<const __m256i*>(from);
    auto* target = reinterpret_cast<__m256i*>(to);
    _mm_prefetch(from + kPrefetchBytes, _MM_HINT_T1);
    _mm256_stream_si256(target, _mm256_loadu_si256(source));
    _mm256_stream_si256(target + 1, _mm256_loadu_si256(source + 1));
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
  const size_t lines = bytes / kLineBytes;
  (level == SimdLevel::kAvx512 ? stream_lines_avx512 : stream_lines_avx2)(to, from, lines);
  const size_t done = lines * kLineBytes;
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
