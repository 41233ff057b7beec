#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kvferry/status.h"

namespace kvferry {

/// "512MiB", "6g", "1.5GB", or plain bytes.
/// Errors: kInvalidArgument naming the text and the units.
Result<int64_t> parse_bytes(const std::string& text);

/// Decimal digits and nothing else. Errors: kInvalidArgument naming the text and the range.
Result<uint64_t> parse_whole_number(const std::string& text, uint64_t least, uint64_t most);

/// The number behind `flag`; leaves `number` as it is if the flag was not given.
/// Errors: as parse_whole_number(), naming the flag.
template <typename Number>
Status read_number(const char* flag, const std::optional<std::string>& text, uint64_t least,
                   uint64_t most, Number& number) {
  if (!text) return {};
  const auto value = parse_whole_number(*text, least, most);
  if (!value) return value.error().with_context(flag);
  number = static_cast<Number>(*value);
  return {};
}

}  // namespace kvferry
