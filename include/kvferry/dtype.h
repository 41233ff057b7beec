#pragma once

#include <cstdint>
#include <string_view>

#include "kvferry/status.h"

namespace kvferry {

/// Element type of a KV cache. The numbers are those of the chunk record format.
enum class DType : uint8_t {
  kU8 = 1,
  kF16 = 2,
  kBF16 = 3,
  kF32 = 4,
  kF8E4M3 = 5,
  kF8E5M2 = 6,
};

/// Bytes of one element: 1, 2 or 4.
KVFERRY_EXPORT int64_t dtype_size(DType dtype);

/// The name LMCache writes in its keys: uint8, half, bfloat16, float, fp8_e4m3, fp8_e5m2.
KVFERRY_EXPORT std::string_view dtype_name(DType dtype);

/// Errors: kInvalidArgument naming the text and the known names.
KVFERRY_EXPORT Result<DType> parse_dtype(std::string_view name);

}  // namespace kvferry
