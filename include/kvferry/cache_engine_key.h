#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvferry/chunk_hash.h"
#include "kvferry/dtype.h"
#include "kvferry/status.h"

namespace kvferry {

/// Most bytes of a key's text.
inline constexpr size_t kMaxKeyBytes = 1024;

/// Names one chunk of one rank of one model.
///
/// String form, as LMCache writes it: `model@world@worker@hash@dtype[@tag%value]...`, hash in
/// lower-case hex. Tags (tenant salt, adapter, weight revision) are sorted by name.
struct KVFERRY_EXPORT CacheEngineKey {
  std::string model;
  int32_t world_size = 1;
  int32_t worker_id = 0;
  ChunkHash chunk_hash;
  DType dtype = DType::kBF16;
  std::vector<std::pair<std::string, std::string>> tags;

  std::string to_string() const;

  /// Strict: accepts exactly what to_string() of a valid key writes.
  ///
  /// Errors: kInvalidArgument naming the field, for hostile or foreign text: wrong field count,
  ///   empty or over-long fields (model 256 bytes, whole key kMaxKeyBytes), '@', '%', control
  ///   characters, signs, leading zeros, worker outside world, odd or upper-case hex, unsorted or
  ///   double tags.
  static Result<CacheEngineKey> parse(std::string_view text);

  /// The rules of parse() for a key built from its fields.
  Status validate() const;

  /// XXH3-128 of to_string(): binds digests to the key (docs/formats/checksum.md).
  std::array<uint8_t, 16> digest() const;

  friend auto operator<=>(const CacheEngineKey&, const CacheEngineKey&) = default;
};

}  // namespace kvferry

template <>
struct std::hash<kvferry::CacheEngineKey> {
  size_t operator()(const kvferry::CacheEngineKey& key) const noexcept {
    return key.chunk_hash.prefix64();
  }
};
