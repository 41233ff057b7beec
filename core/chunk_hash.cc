#include "kvferry/chunk_hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "core/cbor.h"

namespace kvferry {
namespace {

using detail::CborWriter;

/// SHA-256 over and over, with one context.
class Sha256 {
 public:
  /// False when OpenSSL cannot (no memory, or SHA-256 switched off by its configuration).
  bool hash(std::span<const uint8_t> bytes, ChunkHash& out) {
    unsigned int size = 0;
    return context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1 &&
           EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1 &&
           EVP_DigestFinal_ex(context_.get(), out.bytes.data(), &size) == 1 &&
           size == out.bytes.size();
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_{EVP_MD_CTX_new()};
};

int hex_value(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return -1;
}

}  // namespace

std::string ChunkHash::to_hex() const {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex(2 * bytes.size(), '0');
  for (size_t i = 0; i < bytes.size(); ++i) {
    hex[2 * i] = kDigits[bytes[i] >> 4];
    hex[2 * i + 1] = kDigits[bytes[i] & 15];
  }
  return hex;
}

Result<ChunkHash> ChunkHash::from_hex(std::string_view hex) {
  ChunkHash hash;
  bool is_hex = hex.size() == 2 * hash.bytes.size();
  for (size_t i = 0; is_hex && i < hash.bytes.size(); ++i) {
    const int high = hex_value(hex[2 * i]);
    const int low = hex_value(hex[2 * i + 1]);
    is_hex = high >= 0 && low >= 0;
    if (is_hex) hash.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  if (is_hex) return hash;
  return make_error(StatusCode::kInvalidArgument,
                    "chunk hash of " + std::to_string(hex.size()) +
                        " characters is not 64 lower-case hex digits");
}

ChunkHasher::ChunkHasher(ChunkHasherOptions options) : options_(std::move(options)) {}

Result<ChunkHasher> ChunkHasher::create(ChunkHasherOptions options) {
  if (options.chunk_tokens < 1) {
    return make_error(StatusCode::kInvalidArgument, "chunk_tokens is " +
                                                        std::to_string(options.chunk_tokens) +
                                                        "; a chunk holds at least 1 token");
  }
  ChunkHasher hasher(std::move(options));
  CborWriter seed;
  seed.text(hasher.options_.seed);
  if (!Sha256().hash(seed.view(), hasher.root_)) {
    return make_error(StatusCode::kUnavailable,
                      "OpenSSL cannot compute SHA-256; check its configuration (openssl.cnf)");
  }
  return hasher;
}

std::vector<ChunkHash> ChunkHasher::hash(std::span<const uint32_t> tokens,
                                         std::span<const std::string> extra_keys) const {
  CborWriter extras;
  extras.array(extra_keys.size());
  for (const std::string& key : extra_keys) extras.text(key);

  const auto chunk_tokens = static_cast<uint64_t>(options_.chunk_tokens);
  const uint64_t num_full = tokens.size() / chunk_tokens;
  const bool has_partial = options_.hash_partial_chunk && tokens.size() % chunk_tokens != 0;
  const uint64_t num_chunks = num_full + (has_partial ? 1 : 0);

  std::vector<ChunkHash> hashes;
  hashes.reserve(num_chunks);
  Sha256 sha256;
  CborWriter link;
  ChunkHash previous = root_;
  for (uint64_t chunk = 0; chunk < num_chunks; ++chunk) {
    const uint64_t begin = chunk * chunk_tokens;
    const auto part = tokens.subspan(begin, std::min(chunk_tokens, tokens.size() - begin));
    link.clear();
    link.array(3);
    link.bytes(previous.bytes);
    link.array(part.size());
    for (uint32_t token : part) link.uint(token);
    link.encoded(extras.view());
    if (!sha256.hash(link.view(), previous)) break;
    hashes.push_back(previous);
  }
  return hashes;
}

}  // namespace kvferry
