#include "tools/host_memory.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>

namespace kvferry {
namespace {

/// The number that a file begins with; empty for "max" or no such file.
std::optional<int64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

/// The number behind `name` in a file of "name number" lines.
std::optional<int64_t> field_in(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string word;
    int64_t number = 0;
    if (fields >> word >> number && word == name) return number;
  }
  return std::nullopt;
}

struct CgroupFiles {
  const char* controller;  // as in /proc/self/cgroup; version 2 has no name there
  const char* mount;
  const char* limit;
  const char* usage;
  const char* reclaimable;  // in memory.stat: file pages that count as used and are soon free
};

constexpr CgroupFiles kVersion2 = {"", "/sys/fs/cgroup", "memory.max", "memory.current",
                                   "inactive_file"};
constexpr CgroupFiles kVersion1 = {"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                   "memory.usage_in_bytes", "total_inactive_file"};

/// Where in the controller's tree this process is: lines are "4:cpu,memory:/some/path".
std::optional<std::string> cgroup_path(const std::string& root, const std::string& controller) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t names = line.find(':');
    const size_t path = line.find(':', names + 1);
    if (names == std::string::npos || path == std::string::npos) continue;
    const std::string list = "," + line.substr(names + 1, path - names - 1) + ",";
    if (list.find("," + controller + ",") != std::string::npos) return line.substr(path + 1);
  }
  return std::nullopt;
}

std::optional<int64_t> left_in(const std::string& folder, const CgroupFiles& files) {
  const auto limit = number_in(folder + "/" + files.limit);
  const auto usage = number_in(folder + "/" + files.usage);
  if (!limit || !usage) return std::nullopt;
  const int64_t reclaimable = field_in(folder + "/memory.stat", files.reclaimable).value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, *usage - reclaimable));
}

/// The least that this cgroup and those around it leave.
int64_t bounded_by_cgroups(int64_t bytes, const std::string& root, const CgroupFiles& files) {
  std::optional<std::string> path = cgroup_path(root, files.controller);
  if (!path) return bytes;
  for (;;) {
    if (path->ends_with('/')) path->pop_back();
    bytes = std::min(bytes, left_in(root + files.mount + *path, files).value_or(bytes));
    if (path->empty()) return bytes;
    path->resize(path->rfind('/') == std::string::npos ? 0 : path->rfind('/'));
  }
}

}  // namespace

Result<int64_t> available_memory(const std::string& root) {
  const auto kib = field_in(root + "/proc/meminfo", "MemAvailable:");
  if (!kib || *kib <= 0) {
    return make_error(StatusCode::kUnavailable, "/proc/meminfo does not say how much is available");
  }
  int64_t bytes = *kib * 1024;
  for (const CgroupFiles& files : {kVersion2, kVersion1}) {
    bytes = bounded_by_cgroups(bytes, root, files);
  }
  return bytes;
}

}  // namespace kvferry
