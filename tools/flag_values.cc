#include "tools/flag_values.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "core/printable.h"

namespace kvferry {
namespace {

constexpr size_t kMaxEchoed = 64;

}  // namespace

Result<int64_t> parse_bytes(const std::string& text) {
  const auto invalid = [&] {
    return make_error(StatusCode::kInvalidArgument,
                      "'" + detail::printable(text, kMaxEchoed) +
                          "' is no size; write 512MiB, 6GiB or a number of bytes");
  };
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || !std::isfinite(value) || value < 0) return invalid();
  std::string unit(end);
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  double factor = 0;
  if (unit.empty() || unit == "b") factor = 1;
  if (unit == "k" || unit == "kib") factor = 1024.0;
  if (unit == "m" || unit == "mib") factor = 1024.0 * 1024;
  if (unit == "g" || unit == "gib") factor = 1024.0 * 1024 * 1024;
  if (unit == "kb") factor = 1e3;
  if (unit == "mb") factor = 1e6;
  if (unit == "gb") factor = 1e9;
  constexpr double kMaxBytes = 1e15;
  if (factor == 0 || value * factor > kMaxBytes) return invalid();
  return static_cast<int64_t>(value * factor);
}

Result<uint64_t> parse_whole_number(const std::string& text, uint64_t least, uint64_t most) {
  uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc() && stopped == end && number >= least && number <= most) return number;
  return make_error(StatusCode::kInvalidArgument,
                    "'" + detail::printable(text, kMaxEchoed) + "' is no whole number from " +
                        std::to_string(least) + " to " + std::to_string(most));
}

}  // namespace kvferry
