#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvferry/status.h"

namespace kvferry {

/// Hash of a chunk's tokens and of everything before them: 256 bits.
struct KVFERRY_EXPORT ChunkHash {
  std::array<uint8_t, 32> bytes = {};

  std::string to_hex() const;
  /// Errors: kInvalidArgument unless `hex` is 64 lower-case hex digits.
  static Result<ChunkHash> from_hex(std::string_view hex);
  /// The first eight bytes, for hash tables.
  uint64_t prefix64() const noexcept {
    uint64_t value;
    std::memcpy(&value, bytes.data(), sizeof(value));
    return value;
  }

  friend auto operator<=>(const ChunkHash&, const ChunkHash&) = default;
};

struct ChunkHasherOptions {
  int64_t chunk_tokens = 256;
  /// Text that starts the chain, as vLLM's PYTHONHASHSEED. Equal seeds, equal hashes, on any host.
  std::string seed = "0";
  /// Also hash a last chunk that is not full (LMCache: save_unfull_chunk).
  bool hash_partial_chunk = false;
};

/// Prefix chain over token ids: h_i = SHA-256(CBOR([h_{i-1}, [tokens], [extra keys]])), in
/// canonical CBOR, h_{-1} = SHA-256(CBOR(seed)).
///
/// Bit for bit what LMCache calls `sha256_cbor` (vectors in tests/core/chunk_hash_test.cc), so a
/// store filled by one can be read by the other.
///
/// Threads: immutable after construction; hash() from any thread.
class KVFERRY_EXPORT ChunkHasher {
 public:
  /// Errors: kInvalidArgument if chunk_tokens < 1; kUnavailable if OpenSSL refuses SHA-256.
  static Result<ChunkHasher> create(ChunkHasherOptions options);

  /// One hash per full chunk of `tokens`, and one for the rest if options say so.
  /// `extra_keys` (tenant salt, adapter) are part of every link: different extras never match.
  /// Should OpenSSL fail midway, the list ends there: a shorter prefix, never a wrong hash.
  std::vector<ChunkHash> hash(std::span<const uint32_t> tokens,
                              std::span<const std::string> extra_keys = {}) const;

  const ChunkHasherOptions& options() const { return options_; }

 private:
  explicit ChunkHasher(ChunkHasherOptions options);

  ChunkHasherOptions options_;
  ChunkHash root_;
};

}  // namespace kvferry
