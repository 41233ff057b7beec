#pragma once

#include <cstdint>
#include <string>

#include "kvferry/status.h"

namespace kvferry {

/// "512MiB", "6g", "1.5GB", or plain bytes.
/// Errors: kInvalidArgument naming the text and the units.
Result<int64_t> parse_bytes(const std::string& text);

/// Decimal digits and nothing else. Errors: kInvalidArgument naming the text and the range.
Result<uint64_t> parse_whole_number(const std::string& text, uint64_t least, uint64_t most);

}  // namespace kvferry
