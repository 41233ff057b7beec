#include "tools/doctor/probes.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "cuda/host/cpu_features.h"
#include "kvferry/make_transport.h"
#include "runtime/control/peer_probe.h"

namespace kvferry {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

std::string gib(double bytes) {
  std::ostringstream out;
  out.precision(1);
  out << std::fixed << bytes / kGiB << " GiB";
  return out.str();
}

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

std::string limit_text(rlim_t limit) {
  return limit == RLIM_INFINITY ? "unlimited" : std::to_string(limit);
}

}  // namespace

Finding probe_processor() {
  const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  return {.subject = "processor",
          .health = cores >= 2 ? Health::kOk : Health::kLimited,
          .found = field("/proc/cpuinfo", "model name") + ", " + std::to_string(cores) +
                   " cores, copies with " + std::string(simd_level_name(best_simd_level())),
          .advice = cores >= 2 ? "" : "each process wants a core of its own for its data thread"};
}

Finding probe_memory() {
  const double available = std::atof(field("/proc/meminfo", "MemAvailable").c_str()) * 1024;
  return {.subject = "memory", .found = gib(available) + " available", .advice = ""};
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
  return {.subject = "locked memory",
          .health = enough ? Health::kOk : Health::kLimited,
          .found = "limit " + limit_text(limit.rlim_cur) + " bytes",
          .advice = enough ? "" : "RDMA and pinned memory need more: ulimit -l unlimited"};
}

Finding probe_open_files() {
  constexpr rlim_t kEnough = 1024;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const bool enough = limit.rlim_cur >= kEnough;
  return {.subject = "open files",
          .health = enough ? Health::kOk : Health::kLimited,
          .found = "limit " + limit_text(limit.rlim_cur),
          .advice = enough ? "" : "a peer takes about 20 descriptors: ulimit -n 4096"};
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
          .found = is_there ? "/dev/shm has " + gib(free_bytes) + " free" : "no /dev/shm",
          .advice = enough ? "" : "UCX needs it for its queues: mount a larger tmpfs on /dev/shm"};
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
  bool any_on_host = false;
  for (const PeerClass peer_class :
       {PeerClass::kSameHostPull, PeerClass::kSameHostShm, PeerClass::kNetwork}) {
    const Status status = (*ucx)->is_available(peer_class);
    any_on_host = any_on_host || status.is_ok();
    findings.push_back({.subject = "ucx, " + std::string(peer_class_name(peer_class)),
                        .health = status.is_ok() ? Health::kOk : Health::kLimited,
                        .found = status.is_ok() ? "available" : std::string(status.message()),
                        .advice = ""});
  }
  const bool overridden = std::getenv("UCX_TLS") != nullptr;  // NOLINT(concurrency-mt-unsafe)
  findings.push_back({.subject = kPathSubject,
                      .health = any_on_host ? Health::kOk : Health::kMissing,
                      .found = any_on_host ? "there is one" : "there is none",
                      .advice = overridden ? "UCX_TLS is set and overrides the choice of path; "
                                             "unset it unless you mean it"
                                           : ""});
  return findings;
}

}  // namespace kvferry
