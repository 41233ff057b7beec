#include "tests/runtime/transfer/worker_process.h"

#include <unistd.h>

#include <cstdio>
#include <sstream>

#include "tests/runtime/transfer/held_pull.h"

namespace kvferry {
namespace {

constexpr const char* kServingRole = "serving-worker";
constexpr const char* kFetchingRole = "fetching-worker";
constexpr int kFaultCode = 3;
constexpr int kPullsBefore = 5;

std::vector<std::string> with_port(std::vector<std::string> words, uint16_t port) {
  words.push_back(std::to_string(port));
  return words;
}

/// Answers until the owner has enough, or is gone.
template <typename Worker>
int answer(const SelfOwner& owner, const Worker& worker) {
  for (;;) {
    const std::string wish = owner.receive();
    if (wish == "stats") {
      const TransferStats stats = worker.stats();
      owner.send(std::to_string(stats.quarantined_bytes) + " " +
                 std::to_string(stats.leases_active));
    } else if (wish == "hold") {
      hold_pull(
          kPullsBefore,
          {.on_held = [&] { owner.send("held"); },
           .on_released = [&](bool is_equal) { owner.send(is_equal ? "equal" : "differs"); }});
    } else if (wish == "release") {
      release_pull();
    } else {
      return 0;
    }
  }
}

[[noreturn]] void end_by_fault(const std::string& fault) {
  std::fprintf(stderr, "worker %d: %s\n", static_cast<int>(::getpid()), fault.c_str());
  ::_exit(kFaultCode);
}

/// Quarantined bytes and active leases.
std::optional<std::pair<uint64_t, uint64_t>> ask_stats(const WorkerProcess& process) {
  process.send("stats");
  std::istringstream answer(process.receive());
  std::pair<uint64_t, uint64_t> stats;
  if (!(answer >> stats.first >> stats.second)) return std::nullopt;
  return stats;
}

}  // namespace

WorkerProcess::WorkerProcess(WorkerRole role, const WorkerOptions& options, uint16_t port)
    : SelfProcess(role == WorkerRole::kServing ? kServingRole : kFetchingRole,
                  with_port(options.to_words(), port)) {}

uint16_t WorkerProcess::receive_port() const {
  const std::string port = receive();
  return port.empty() ? uint16_t{0} : static_cast<uint16_t>(std::stoi(port));
}

std::optional<uint64_t> WorkerProcess::quarantined_bytes() const {
  const auto stats = ask_stats(*this);
  return stats ? std::optional(stats->first) : std::nullopt;
}

std::optional<uint64_t> WorkerProcess::leases_active() const {
  const auto stats = ask_stats(*this);
  return stats ? std::optional(stats->second) : std::nullopt;
}

int WorkerProcess::end() {
  send("end");
  return wait();
}

int run_as_worker(int argc, char** argv) {
  if (const auto self = find_self_role(kServingRole, argc, argv)) {
    const ServingWorker worker(WorkerOptions::from_words(self->words));
    self->owner.send(std::to_string(worker.port()));
    return answer(self->owner, worker);
  }
  if (const auto self = find_self_role(kFetchingRole, argc, argv)) {
    const auto port = static_cast<uint16_t>(std::stoi(self->words.back()));
    const FetchingWorker worker(WorkerOptions::from_words(self->words), port, end_by_fault);
    return answer(self->owner, worker);
  }
  return -1;
}

}  // namespace kvferry
