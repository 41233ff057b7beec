#if defined(__x86_64__)

#include <immintrin.h>

#define KVFERRY_SIMD __attribute__((target("avx2")))
#include "kernels/copy_loop_impl.h"

namespace kvferry {
namespace {

struct Avx2 {
  struct Stripe {
    __m256i half[2];
  };

  KVFERRY_SIMD_INLINE static Stripe load(const void* from) {
    const auto* source = static_cast<const __m256i*>(from);
    return {{_mm256_loadu_si256(source), _mm256_loadu_si256(source + 1)}};
  }
  KVFERRY_SIMD_INLINE static void store(void* to, Stripe data) {
    auto* target = static_cast<__m256i*>(to);
    _mm256_storeu_si256(target, data.half[0]);
    _mm256_storeu_si256(target + 1, data.half[1]);
  }
  KVFERRY_SIMD_INLINE static void stream(void* to, Stripe data) {
    auto* target = static_cast<__m256i*>(to);
    _mm256_stream_si256(target, data.half[0]);
    _mm256_stream_si256(target + 1, data.half[1]);
  }
  KVFERRY_SIMD_INLINE static Stripe zero() {
    return {{_mm256_setzero_si256(), _mm256_setzero_si256()}};
  }
  KVFERRY_SIMD_INLINE static void add(Stripe* accumulator, Stripe sum) {
    for (int i = 0; i < 2; ++i) {
      accumulator->half[i] = _mm256_add_epi64(accumulator->half[i], sum.half[i]);
    }
  }

  KVFERRY_SIMD_INLINE static void accumulate(Stripe* accumulator, Stripe data,
                                             const uint64_t* key) {
    const Stripe keys = load(key);
    for (int i = 0; i < 2; ++i) {
      const __m256i mixed = _mm256_xor_si256(data.half[i], keys.half[i]);
      const __m256i product = _mm256_mul_epu32(mixed, _mm256_srli_epi64(mixed, 32));
      const __m256i swapped = _mm256_shuffle_epi32(data.half[i], 0x4E);
      accumulator->half[i] =
          _mm256_add_epi64(accumulator->half[i], _mm256_add_epi64(product, swapped));
    }
  }

  KVFERRY_SIMD_INLINE static void scramble(Stripe* accumulator, const uint64_t* key) {
    const __m256i prime = _mm256_set1_epi64x(kXxh32Prime1);
    const Stripe keys = load(key);
    for (int i = 0; i < 2; ++i) {
      const __m256i value = accumulator->half[i];
      const __m256i shifted = _mm256_xor_si256(value, _mm256_srli_epi64(value, 47));
      const __m256i mixed = _mm256_xor_si256(shifted, keys.half[i]);
      const __m256i low = _mm256_mul_epu32(mixed, prime);
      const __m256i high = _mm256_mul_epu32(_mm256_srli_epi64(mixed, 32), prime);
      accumulator->half[i] = _mm256_add_epi64(low, _mm256_slli_epi64(high, 32));
    }
  }

  static void fence() { _mm_sfence(); }
};

}  // namespace

constinit const CopyLoop detail::kAvx2CopyLoop = make_copy_loop<Avx2>();

}  // namespace kvferry

#endif  // __x86_64__
