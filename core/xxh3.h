#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kvferry::detail {

/// XXH3-64 with seed 0.
uint64_t xxh3_64(std::span<const std::byte> bytes);

/// XXH3-128 with seed 0, in the canonical byte order that xxh128sum prints.
std::array<uint8_t, 16> xxh3_128(std::span<const std::byte> bytes);

}  // namespace kvferry::detail
