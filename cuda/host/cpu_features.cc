#include "cuda/host/cpu_features.h"

namespace kvferry {
namespace {

constexpr SimdLevel kLevels[] = {SimdLevel::kPortable, SimdLevel::kAvx2, SimdLevel::kAvx512};

SimdLevel detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();  // also checks that the operating system saves the registers
  if (__builtin_cpu_supports("avx512f")) return SimdLevel::kAvx512;
  if (__builtin_cpu_supports("avx2")) return SimdLevel::kAvx2;
#endif
  return SimdLevel::kPortable;
}

}  // namespace

std::string_view simd_level_name(SimdLevel level) {
  switch (level) {
    case SimdLevel::kPortable:
      return "portable";
    case SimdLevel::kAvx2:
      return "avx2";
    case SimdLevel::kAvx512:
      return "avx512";
  }
  return "unknown";
}

SimdLevel best_simd_level() {
  static const SimdLevel level = detect();
  return level;
}

std::span<const SimdLevel> supported_simd_levels() {
  return std::span(kLevels).first(static_cast<size_t>(best_simd_level()) + 1);
}

}  // namespace kvferry
