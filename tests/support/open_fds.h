#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <iterator>

namespace kvferry {

/// Descriptors that this process has open right now.
inline size_t count_open_fds() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(fds), end(fds)));
}

}  // namespace kvferry
