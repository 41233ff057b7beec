#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC bug 105593: false in its own header
#endif

#define KVFERRY_SIMD __attribute__((target("avx512f")))
#include "kernels/copy_loop_impl.h"

namespace kvferry {
namespace {

struct Avx512 {
  using Stripe = __m512i;

  KVFERRY_SIMD_INLINE static Stripe load(const void* from) { return _mm512_loadu_si512(from); }
  KVFERRY_SIMD_INLINE static void store(void* to, Stripe data) { _mm512_storeu_si512(to, data); }
  KVFERRY_SIMD_INLINE static void stream(void* to, Stripe data) {
    _mm512_stream_si512(static_cast<__m512i*>(to), data);
  }
  KVFERRY_SIMD_INLINE static Stripe zero() { return _mm512_setzero_si512(); }
  KVFERRY_SIMD_INLINE static void add(Stripe* accumulator, Stripe sum) {
    *accumulator = _mm512_add_epi64(*accumulator, sum);
  }

  KVFERRY_SIMD_INLINE static void accumulate(Stripe* accumulator, Stripe data,
                                             const uint64_t* key) {
    const __m512i mixed = _mm512_xor_si512(data, _mm512_load_si512(key));
    const __m512i product = _mm512_mul_epu32(mixed, _mm512_srli_epi64(mixed, 32));
    const __m512i swapped = _mm512_shuffle_epi32(data, _MM_PERM_BADC);
    *accumulator = _mm512_add_epi64(*accumulator, _mm512_add_epi64(product, swapped));
  }

  KVFERRY_SIMD_INLINE static void scramble(Stripe* accumulator, const uint64_t* key) {
    const __m512i prime = _mm512_set1_epi64(kXxh32Prime1);
    const __m512i shifted = _mm512_xor_si512(*accumulator, _mm512_srli_epi64(*accumulator, 47));
    const __m512i mixed = _mm512_xor_si512(shifted, _mm512_load_si512(key));
    const __m512i low = _mm512_mul_epu32(mixed, prime);
    const __m512i high = _mm512_mul_epu32(_mm512_srli_epi64(mixed, 32), prime);
    *accumulator = _mm512_add_epi64(low, _mm512_slli_epi64(high, 32));
  }

  static void fence() { _mm_sfence(); }
};

}  // namespace

constinit const CopyLoop detail::kAvx512CopyLoop = make_copy_loop<Avx512>();

}  // namespace kvferry

#endif  // __x86_64__
