#include "kvferry/dtype.h"

#include <array>

namespace kvferry {
namespace {

constexpr std::array kAllDTypes = {DType::kU8,  DType::kF16,    DType::kBF16,
                                   DType::kF32, DType::kF8E4M3, DType::kF8E5M2};

}  // namespace

int64_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::kU8:
    case DType::kF8E4M3:
    case DType::kF8E5M2:
      return 1;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kF32:
      return 4;
  }
  return 0;
}

std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kU8:
      return "uint8";
    case DType::kF16:
      return "half";
    case DType::kBF16:
      return "bfloat16";
    case DType::kF32:
      return "float";
    case DType::kF8E4M3:
      return "fp8_e4m3";
    case DType::kF8E5M2:
      return "fp8_e5m2";
  }
  return "unknown";
}

Result<DType> parse_dtype(std::string_view name) {
  std::string known;
  for (DType dtype : kAllDTypes) {
    if (dtype_name(dtype) == name) return dtype;
    known += known.empty() ? "" : ", ";
    known += dtype_name(dtype);
  }
  return make_error(StatusCode::kInvalidArgument,
                    "dtype '" + std::string(name) + "' is unknown; use one of " + known);
}

}  // namespace kvferry
