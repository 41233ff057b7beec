#pragma once

#include <cstdint>
#include <string_view>

namespace kvferry {

/// Which chunk goes when a store needs room: LMCache's cache_policy, and S3-FIFO.
///
/// Source: S3-FIFO is Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.
enum class CachePolicy : uint8_t { kLru, kFifo, kS3Fifo };

/// As in configuration: "LRU", "FIFO", "S3FIFO".
constexpr std::string_view cache_policy_name(CachePolicy policy) {
  switch (policy) {
    case CachePolicy::kLru:
      return "LRU";
    case CachePolicy::kFifo:
      return "FIFO";
    case CachePolicy::kS3Fifo:
      return "S3FIFO";
  }
  return "unknown";
}

}  // namespace kvferry
