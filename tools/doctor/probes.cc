#include "tools/doctor/probes.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "cuda/host/cpu_features.h"
#include "kvferry/make_transport.h"
#include "runtime/control/peer_probe.h"
#include "tools/doctor/probe_cuda.h"
#include "tools/host_memory.h"
#if KVFERRY_HAVE_UCX
#include "transports/ucx/factory.h"
#endif

namespace kvferry {
namespace {

/// The value behind `name` in a file of "name: value" lines; empty if there is none.
std::string field(const char* path, const std::string& name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(name, 0) != 0) continue;
    const size_t value = line.find_first_not_of(" \t:", name.size());
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// "8 MiB"; the whole number of the largest unit that gives one with few digits.
std::string bytes_text(double bytes) {
  constexpr std::array kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (unit + 1 < kUnits.size() && bytes >= 1024) {
    bytes /= 1024;
    ++unit;
  }
  std::ostringstream out;
  out.precision(bytes == std::floor(bytes) ? 0 : 1);
  out << std::fixed << bytes << " " << kUnits[unit];
  return out.str();
}

std::string version_of_ucx() {
#if KVFERRY_HAVE_UCX
  return ucx_version();
#else
  return "";
#endif
}

/// Empty when there is no limit.
std::optional<int64_t> limit_value(rlim_t limit) {
  if (limit == RLIM_INFINITY) return std::nullopt;
  return static_cast<int64_t>(limit);
}

}  // namespace

Finding probe_processor() {
  const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  return {.subject = "processor",
          .health = cores >= 2 ? Health::kOk : Health::kLimited,
          .found = field("/proc/cpuinfo", "model name") + ", " + std::to_string(cores) +
                   " cores, copies with " + std::string(simd_level_name(best_simd_level())),
          .advice = cores >= 2 ? "" : "each process wants a core of its own for its data thread",
          .value = cores,
          .unit = "cores"};
}

Finding probe_memory() {
  const auto available = available_memory();
  if (!available) {
    return {.subject = "memory",
            .health = Health::kLimited,
            .found = std::string(available.error().message()),
            .advice = "give kvferry demo its --memory"};
  }
  return {.subject = "memory",
          .found = bytes_text(static_cast<double>(*available)) + " available",
          .advice = "",
          .value = *available,
          .unit = "bytes"};
}

Finding probe_huge_pages() {
  const std::string mode = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
  const bool given =
      mode.find("[always]") != std::string::npos || mode.find("[madvise]") != std::string::npos;
  return {.subject = "huge pages",
          .health = given ? Health::kOk : Health::kLimited,
          .found = mode.empty() ? "this kernel has no transparent ones" : "transparent: " + mode,
          .advice = given ? ""
                          : "copies of small runs are slower without; set "
                            "/sys/kernel/mm/transparent_hugepage/enabled to madvise"};
}

Finding probe_process_reads() {
  uint64_t word = random_u64();
  const uint64_t expected = word;
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const bool works =
      child > 0 && can_read_process(child, reinterpret_cast<uint64_t>(&word), expected);
  if (child > 0) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  const std::string scope = first_line("/proc/sys/kernel/yama/ptrace_scope");
  return {.subject = "process reads",
          .health = works ? Health::kOk : Health::kLimited,
          .found = std::string(works ? "allowed" : "refused") + " (ptrace scope " +
                   (scope.empty() ? "not limited by yama" : scope) + ")",
          .advice = works ? ""
                          : "peers on one host fall back to shared memory; allow process_vm_readv "
                            "(same user, yama scope 0, no seccomp filter) for the faster path"};
}

Finding probe_locked_memory() {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  const bool enough = limit.rlim_cur == RLIM_INFINITY;
  return {
      .subject = "locked memory",
      .health = enough ? Health::kOk : Health::kLimited,
      .found = enough ? "unlimited" : "limit " + bytes_text(static_cast<double>(limit.rlim_cur)),
      .advice = enough ? "" : "RDMA and pinned memory need more: ulimit -l unlimited",
      .value = limit_value(limit.rlim_cur),
      .unit = "bytes"};
}

Finding probe_open_files() {
  constexpr rlim_t kEnough = 1024;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const bool enough = limit.rlim_cur >= kEnough;
  return {.subject = "open files",
          .health = enough ? Health::kOk : Health::kLimited,
          .found = limit.rlim_cur == RLIM_INFINITY ? "unlimited"
                                                   : "limit " + std::to_string(limit.rlim_cur),
          .advice = enough ? "" : "a peer takes about 20 descriptors: ulimit -n 4096",
          .value = limit_value(limit.rlim_cur),
          .unit = "files"};
}

Finding probe_shared_memory() {
  constexpr double kEnough = 64.0 * 1024 * 1024;
  struct statvfs stat {};
  const bool is_there = ::statvfs("/dev/shm", &stat) == 0;
  const double free_bytes =
      is_there ? static_cast<double>(stat.f_bavail) * static_cast<double>(stat.f_frsize) : 0;
  const bool enough = free_bytes >= kEnough;
  return {.subject = "shared memory",
          .health = enough ? Health::kOk : Health::kLimited,
          .found = is_there ? "/dev/shm has " + bytes_text(free_bytes) + " free" : "no /dev/shm",
          .advice = enough ? "" : "UCX needs it for its queues: mount a larger tmpfs on /dev/shm",
          .value = static_cast<int64_t>(free_bytes),
          .unit = "bytes"};
}

std::vector<Finding> probe_transports() {
  const auto ucx = make_transport("ucx");
  if (!ucx) {
    return {{.subject = kPathSubject,
             .health = Health::kMissing,
             .found = std::string(ucx.error().message()),
             .advice = "chunks move within one process only"}};
  }
  std::vector<Finding> findings;
  std::string best;  // the classes come in this order
  for (const PeerClass peer_class :
       {PeerClass::kSameHostPull, PeerClass::kSameHostShm, PeerClass::kNetwork}) {
    const Status status = (*ucx)->is_available(peer_class);
    if (status.is_ok() && best.empty()) best = peer_class_name(peer_class);
    findings.push_back({.subject = "ucx, " + std::string(peer_class_name(peer_class)),
                        .health = status.is_ok() ? Health::kOk : Health::kLimited,
                        .found = status.is_ok() ? "available" : std::string(status.message()),
                        .advice = ""});
  }
  const bool overridden = std::getenv("UCX_TLS") != nullptr;  // NOLINT(concurrency-mt-unsafe)
  findings.push_back(device_memory_finding({.ucx_version = version_of_ucx(),
                                            .has_device = query_cuda_devices().has_value(),
                                            .is_moved = (*ucx)->moves_device_memory(),
                                            .user_overrides_tls = overridden}));
  findings.push_back({.subject = kPathSubject,
                      .health = best.empty() ? Health::kMissing : Health::kOk,
                      .found = best.empty() ? "there is none" : best + " is the best that works",
                      .advice = overridden ? "UCX_TLS is set and overrides the choice of path; "
                                             "unset it unless you mean it"
                                           : ""});
  return findings;
}

}  // namespace kvferry
