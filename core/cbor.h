#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace kvferry::detail {

/// Writes canonical CBOR (RFC 8949 section 4.2.1: shortest heads, definite lengths): arrays,
/// unsigned integers, byte and text strings.
class CborWriter {
 public:
  void array(uint64_t num_items) { head(0x80, num_items); }
  void uint(uint64_t value) { head(0x00, value); }
  void bytes(std::span<const uint8_t> value) {
    head(0x40, value.size());
    buffer_.insert(buffer_.end(), value.begin(), value.end());
  }
  void text(std::string_view value) {
    head(0x60, value.size());
    buffer_.insert(buffer_.end(), value.begin(), value.end());
  }
  /// Appends what is CBOR already.
  void encoded(std::span<const uint8_t> value) {
    buffer_.insert(buffer_.end(), value.begin(), value.end());
  }

  /// Empties the buffer and keeps its memory.
  void clear() { buffer_.clear(); }
  std::span<const uint8_t> view() const { return buffer_; }

 private:
  void head(uint8_t major_type, uint64_t value) {
    if (value < 24) {
      buffer_.push_back(static_cast<uint8_t>(major_type | value));
      return;
    }
    const int log_bytes = value <= 0xff ? 0 : value <= 0xffff ? 1 : value <= 0xffffffff ? 2 : 3;
    buffer_.push_back(static_cast<uint8_t>(major_type | (24 + log_bytes)));
    for (int shift = (8 << log_bytes) - 8; shift >= 0; shift -= 8) {
      buffer_.push_back(static_cast<uint8_t>(value >> shift));
    }
  }

  std::vector<uint8_t> buffer_;
};

}  // namespace kvferry::detail
