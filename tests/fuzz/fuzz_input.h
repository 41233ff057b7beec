#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace kvferry {

inline std::span<const std::byte> fuzz_bytes(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}
inline std::string_view fuzz_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace kvferry
