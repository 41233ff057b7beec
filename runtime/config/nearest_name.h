#pragma once

#include <algorithm>
#include <numeric>
#include <string_view>
#include <vector>

namespace kvferry::detail {

/// How many letters must be put in, taken out, changed or swapped with the next one.
inline size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] =
          std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

/// The one of `names` that `word` was probably meant to be; empty if none is near, with
/// `max_distance` edits at most (0: a third of the word, at least two).
template <typename Names>
std::string_view nearest_name(std::string_view word, const Names& names, size_t max_distance = 0) {
  constexpr size_t kMaxWord = 80;
  if (word.size() > kMaxWord) return {};
  std::string_view nearest;
  size_t least = (max_distance > 0 ? max_distance : std::max<size_t>(2, word.size() / 3)) + 1;
  for (const std::string_view name : names) {
    const size_t distance = edit_distance(word, name);
    if (distance >= least || distance >= name.size()) continue;
    least = distance;
    nearest = name;
  }
  return nearest;
}

}  // namespace kvferry::detail
