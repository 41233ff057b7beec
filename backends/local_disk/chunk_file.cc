#include "backends/local_disk/chunk_file.h"

#include <charconv>

namespace kvferry {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::string_view kSuffix = ".chunk";
constexpr size_t kDigestDigits = 32;
constexpr size_t kGenerationDigits = 16;

void append_hex(std::string& text, uint8_t byte) {
  text += kHexDigits[byte >> 4U];
  text += kHexDigits[byte & 0xfU];
}

/// Lower-case digits only, so that each name has one spelling.
bool parse_hex(std::string_view text, uint64_t& value) {
  if (text.find_first_not_of(kHexDigits) != std::string_view::npos) return false;
  return std::from_chars(text.data(), text.data() + text.size(), value, 16).ec == std::errc();
}

}  // namespace

std::string ChunkFileName::to_string() const {
  std::string text;
  for (const uint8_t byte : key_digest) append_hex(text, byte);
  text += '-';
  for (int shift = 56; shift >= 0; shift -= 8) {
    append_hex(text, static_cast<uint8_t>(generation >> static_cast<unsigned>(shift)));
  }
  return text += kSuffix;
}

std::optional<ChunkFileName> ChunkFileName::parse(std::string_view text) {
  if (text.size() != kDigestDigits + 1 + kGenerationDigits + kSuffix.size()) return std::nullopt;
  if (text[kDigestDigits] != '-' || !text.ends_with(kSuffix)) return std::nullopt;
  ChunkFileName name;
  for (size_t i = 0; i < name.key_digest.size(); ++i) {
    uint64_t byte = 0;
    if (!parse_hex(text.substr(2 * i, 2), byte)) return std::nullopt;
    name.key_digest[i] = static_cast<uint8_t>(byte);
  }
  if (!parse_hex(text.substr(kDigestDigits + 1, kGenerationDigits), name.generation)) {
    return std::nullopt;
  }
  return name;
}

std::string StorePaths::shard(size_t number) const { return root_ + "/" + kHexDigits[number]; }

}  // namespace kvferry
