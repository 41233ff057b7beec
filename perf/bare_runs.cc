#include "perf/bare_runs.h"

#include <algorithm>

#include "cuda/host/cpu_features.h"
#include "cuda/host/streaming_copy.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kvferry {
namespace {

#if defined(__x86_64__)
constexpr size_t kLanes = 4;
constexpr size_t kLineBytes = 64;
constexpr size_t kStepBytes = 1024;

__attribute__((target("avx512f"))) void copy_four(const BareRun* runs, const BareRun* next,
                                                  size_t run_bytes) {
  for (size_t step = 0; step < run_bytes; step += kStepBytes) {
    const std::byte* ahead[kLanes];
    for (size_t j = 0; j < kLanes; ++j) {
      ahead[j] = step + kStepBytes < run_bytes ? runs[j].from + step + kStepBytes : next[j].from;
    }
    for (size_t i = 0; i < kStepBytes; i += kLineBytes) {
#pragma GCC unroll 4
      for (size_t j = 0; j < kLanes; ++j) {
        _mm_prefetch(ahead[j] + i, _MM_HINT_T1);
        _mm512_stream_si512(reinterpret_cast<__m512i*>(runs[j].to + step + i),
                            _mm512_loadu_si512(runs[j].from + step + i));
      }
    }
  }
}
#endif

}  // namespace

void copy_bare_runs(std::span<const BareRun> runs, size_t run_bytes) {
  size_t i = 0;
#if defined(__x86_64__)
  if (best_simd_level() == SimdLevel::kAvx512) {
    for (; i + kLanes <= runs.size(); i += kLanes) {
      copy_four(&runs[i], &runs[std::min(i + kLanes, runs.size() - kLanes)], run_bytes);
    }
    _mm_sfence();
  }
#endif
  for (; i < runs.size(); ++i) streaming_copy(runs[i].to, runs[i].from, run_bytes);
}

}  // namespace kvferry
