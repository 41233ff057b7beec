#pragma once

#include <cstdint>
#include <string>

#include "kvferry/status.h"

namespace kvferry {

/// Bytes that this process and its children can still take: what the kernel says is available, or
/// less where a memory cgroup (version 1 or 2) allows less. `root` is where /proc and /sys are
/// found, for tests. Errors: kUnavailable when /proc/meminfo does not say.
Result<int64_t> available_memory(const std::string& root = "");

}  // namespace kvferry
