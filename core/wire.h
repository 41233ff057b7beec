#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvferry/status.h"

namespace kvferry {

// Little-endian fields without padding, for control messages, chunk records and digests.

/// Appends fields to a buffer.
class WireWriter {
 public:
  void u8(uint8_t value) { put(value); }
  void u16(uint16_t value) { put(value); }
  void u32(uint32_t value) { put(value); }
  void u64(uint64_t value) { put(value); }
  void bytes(std::span<const std::byte> value) {
    buffer_.insert(buffer_.end(), value.begin(), value.end());
  }
  void raw(std::string_view value) { bytes(std::as_bytes(std::span(value))); }
  /// u32 length, then the characters. The caller keeps them below 4 GiB.
  void string(std::string_view value) {
    u32(static_cast<uint32_t>(value.size()));
    raw(value);
  }

  size_t size() const { return buffer_.size(); }
  std::span<const std::byte> view() const { return buffer_; }
  std::vector<std::byte> take() { return std::move(buffer_); }

 private:
  template <std::unsigned_integral T>
  void put(T value) {
    std::array<std::byte, sizeof(T)> out;
    for (size_t i = 0; i < sizeof(T); ++i) out[i] = static_cast<std::byte>(value >> (8 * i));
    bytes(out);
  }

  std::vector<std::byte> buffer_;
};

/// Takes fields from bytes that anyone may have written. Never reads past them: the first field
/// that does not fit makes every later read return zero or empty, and status() an error.
class WireReader {
 public:
  /// Borrows `bytes`; spans and views that it returns point into them.
  explicit WireReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint8_t read_u8() { return get<uint8_t>(); }
  uint16_t read_u16() { return get<uint16_t>(); }
  uint32_t read_u32() { return get<uint32_t>(); }
  uint64_t read_u64() { return get<uint64_t>(); }

  /// The next `count` bytes; empty if fewer remain.
  std::span<const std::byte> read_bytes(uint64_t count) {
    if (!ok_ || count > remaining()) {
      fail();
      return {};
    }
    const auto out = bytes_.subspan(position_, static_cast<size_t>(count));
    position_ += out.size();
    return out;
  }

  /// A u32 length and that many characters; an error if the length is above `max`.
  std::string_view read_string(uint32_t max) {
    const uint32_t count = read_u32();
    if (count > max) fail();
    const auto out = read_bytes(count);
    return {reinterpret_cast<const char*>(out.data()), out.size()};
  }

  bool is_ok() const { return ok_; }
  size_t position() const { return position_; }
  size_t remaining() const { return ok_ ? bytes_.size() - position_ : 0; }

  /// Errors: kInvalidArgument with the offset of the field that did not fit.
  Status status() const {
    if (ok_) return Status();
    return Status(StatusCode::kInvalidArgument, "field at byte " + std::to_string(position_) +
                                                    " of " + std::to_string(bytes_.size()) +
                                                    " is cut short or over its limit");
  }
  /// status(), or an error if bytes are left over.
  Status finish() const {
    if (!ok_ || remaining() == 0) return status();
    return Status(StatusCode::kInvalidArgument,
                  std::to_string(remaining()) + " bytes follow the last field");
  }

 private:
  void fail() { ok_ = false; }

  template <std::unsigned_integral T>
  T get() {
    const auto in = read_bytes(sizeof(T));
    T value = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      value = static_cast<T>(value | static_cast<T>(std::to_integer<T>(in[i]) << (8 * i)));
    }
    return value;
  }

  std::span<const std::byte> bytes_;
  size_t position_ = 0;
  bool ok_ = true;
};

}  // namespace kvferry
