#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace kvferry {

/// Widest vector instructions that a host loop may use, weakest first.
enum class SimdLevel : uint8_t { kPortable = 0, kAvx2 = 1, kAvx512 = 2 };

std::string_view simd_level_name(SimdLevel level);

/// What this processor and operating system can run, weakest first; never empty.
std::span<const SimdLevel> supported_simd_levels();

/// The widest of them.
SimdLevel best_simd_level();

}  // namespace kvferry
