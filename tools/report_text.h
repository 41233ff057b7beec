#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <vector>

namespace kvferry {

/// As printf, into a string; what passes 511 bytes is cut.
template <typename... Args>
std::string format(const char* pattern, Args... args) {
  std::array<char, 512> buffer{};
  const int length = std::snprintf(buffer.data(), buffer.size(), pattern, args...);
  return std::string(buffer.data(), std::min(buffer.size() - 1, static_cast<size_t>(length)));
}

/// "1.50 GB", "12.0 MB"; decimal.
std::string bytes_text(double bytes);

/// Nearest rank: the smallest of the values that so many percent of them do not exceed; 0 of none.
double percentile_of(std::vector<double> values, double percentile);

/// As /proc/cpuinfo has it.
std::string cpu_name();

/// The most memory that this process has had, in bytes.
int64_t rss_peak_bytes();

}  // namespace kvferry
