#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace kvferry::detail {

constexpr bool is_printable_char(char c) { return c >= ' ' && c <= '~'; }

inline bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, is_printable_char);
}

/// `text` as plain ASCII of bounded length, for messages of one line.
inline std::string printable(std::string_view text, size_t max_bytes) {
  std::string result(text.substr(0, max_bytes));
  std::ranges::replace_if(
      result, [](char c) { return !is_printable_char(c); }, '?');
  return text.size() > max_bytes ? result + "..." : result;
}

}  // namespace kvferry::detail
