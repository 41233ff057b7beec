#include "tools/sim/sim_command.h"

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "kvferry/mutex.h"
#include "runtime/steady_clock.h"
#include "tools/flag_values.h"
#include "tools/json_file.h"
#include "workload/simulation/simulation.h"

namespace kvferry {
namespace {

constexpr uint64_t kReplayEvery = 50;
constexpr size_t kShownSeeds = 5;
constexpr size_t kShownViolations = 5;
constexpr size_t kShownLogLines = 60;

/// What all seeds came to.
///
/// Threads: any thread, internally locked
class SimTotals {
 public:
  void add(const SimulationResult& result) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    ++seeds_;
    faults_ += result.faults;
    fetches_ += result.fetches;
    verified_ += result.chunks_verified;
    failed_ += result.chunks_failed;
    simulated_seconds_ += result.simulated_seconds;
    violations_ += result.violations.size();
    if (!result.violations.empty()) failed_seeds_.push_back(result.seed);
  }
  void add_replay(bool is_equal, uint64_t seed) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    ++replays_;
    if (!is_equal) mismatched_seeds_.push_back(seed);
  }

  nlohmann::json to_json() KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    std::ranges::sort(failed_seeds_);
    std::ranges::sort(mismatched_seeds_);
    return {{"seeds", seeds_},
            {"violations", violations_},
            {"failed_seeds", failed_seeds_},
            {"faults_injected", faults_},
            {"replays", replays_},
            {"replay_mismatches", mismatched_seeds_.size()},
            {"mismatched_seeds", mismatched_seeds_},
            {"fetches", fetches_},
            {"chunks_verified", verified_},
            {"chunks_failed", failed_},
            {"simulated_seconds", simulated_seconds_}};
  }

 private:
  Mutex mutex_;
  uint64_t seeds_ KVFERRY_GUARDED_BY(mutex_) = 0;
  uint64_t violations_ KVFERRY_GUARDED_BY(mutex_) = 0;
  uint64_t faults_ KVFERRY_GUARDED_BY(mutex_) = 0;
  uint64_t replays_ KVFERRY_GUARDED_BY(mutex_) = 0;
  int64_t fetches_ KVFERRY_GUARDED_BY(mutex_) = 0;
  int64_t verified_ KVFERRY_GUARDED_BY(mutex_) = 0;
  int64_t failed_ KVFERRY_GUARDED_BY(mutex_) = 0;
  double simulated_seconds_ KVFERRY_GUARDED_BY(mutex_) = 0;
  std::vector<uint64_t> failed_seeds_ KVFERRY_GUARDED_BY(mutex_);
  std::vector<uint64_t> mismatched_seeds_ KVFERRY_GUARDED_BY(mutex_);
};

struct SimOptions {
  uint64_t seeds = 500;
  uint64_t first_seed = 1;
  uint64_t jobs = 0;  // 0: one a core
};

Result<SimOptions> parse(const SimFlags& flags) {
  SimOptions options;
  const auto read = [](const char* flag, const std::optional<std::string>& text, uint64_t least,
                       uint64_t most, uint64_t& value) -> Status {
    if (!text) return {};
    const Result<uint64_t> number = parse_whole_number(*text, least, most);
    if (!number) return number.error().with_context(flag);
    value = *number;
    return {};
  };
  KVFERRY_RETURN_IF_ERROR(read("--seeds", flags.seeds, 1, 1'000'000'000, options.seeds));
  KVFERRY_RETURN_IF_ERROR(
      read("--first-seed", flags.first_seed, 0, uint64_t{1} << 62, options.first_seed));
  KVFERRY_RETURN_IF_ERROR(read("--jobs", flags.jobs, 1, 1024, options.jobs));
  return options;
}

void run_seed(uint64_t seed, SimTotals& totals) {
  const bool is_replayed = seed % kReplayEvery == 0;
  const SimulationResult result = run_simulation({.seed = seed, .keep_log = is_replayed});
  totals.add(result);
  if (!is_replayed) return;
  const SimulationResult again = run_simulation({.seed = seed, .keep_log = true});
  totals.add_replay(again.log == result.log && again.fingerprint == result.fingerprint, seed);
}

/// Up to the first violation, if not all of it.
void show_seed(uint64_t seed, size_t max_lines) {
  const SimulationResult result = run_simulation({.seed = seed, .keep_log = true});
  const auto violation = std::ranges::find_if(result.log, [](const std::string& line) {
    return line.find(kViolationMark) != std::string::npos;
  });
  const auto end = max_lines < result.log.size() && violation != result.log.end()
                       ? static_cast<size_t>(violation - result.log.begin()) + 1
                       : result.log.size();
  const size_t begin = end - std::min(end, max_lines);
  if (begin > 0) std::printf("  ... %zu lines before\n", begin);
  for (size_t i = begin; i < end; ++i) std::printf("  %s\n", result.log[i].c_str());
  for (size_t i = 0; i < std::min(result.violations.size(), kShownViolations); ++i) {
    std::printf("  seed %" PRIu64 " failed: %s\n", seed, result.violations[i].c_str());
  }
}

}  // namespace

int run_sim(const SimFlags& flags) {
  const Result<SimOptions> options = parse(flags);
  const Result<std::unique_ptr<JsonFile>> json =
      options ? JsonFile::open_flag("--json", flags.json) : tl::unexpected(options.error());
  if (!json) {
    std::fprintf(stderr, "kvferry sim: %s\n", json.error().to_string().c_str());
    return 2;
  }
  SimTotals totals;
  const SteadyClock clock;
  const TimePoint start = clock.now();
  std::atomic<uint64_t> next{options->first_seed};
  const uint64_t end = options->first_seed + options->seeds;
  const auto work = [&] {
    for (uint64_t seed = next++; seed < end; seed = next++) run_seed(seed, totals);
  };
  const auto jobs = options->jobs > 0 ? options->jobs
                                      : std::max<uint64_t>(1, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (uint64_t i = 1; i < jobs; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();

  nlohmann::json report = totals.to_json();
  report["seconds"] = std::chrono::duration<double>(clock.now() - start).count();
  if (flags.show_log) show_seed(options->first_seed, SIZE_MAX);
  const auto failed = report["failed_seeds"].get<std::vector<uint64_t>>();
  for (size_t i = 0; i < std::min(failed.size(), kShownSeeds); ++i) {
    std::printf(
        "seed %" PRIu64
        ", its log up to the first violation (all of it: kvferry sim --seeds 1 --first-seed "
        "%" PRIu64 " --log):\n",
        failed[i], failed[i]);
    show_seed(failed[i], kShownLogLines);
  }
  std::printf("kvferry sim: %" PRIu64 " seeds, %zu failed; %" PRIu64 " faults injected; %" PRIu64
              " of %" PRIu64 " replays differ; %" PRId64 " chunks verified, %" PRId64
              " ended with an error; %.0f simulated seconds in %.1f\n",
              report["seeds"].get<uint64_t>(), failed.size(),
              report["faults_injected"].get<uint64_t>(),
              report["replay_mismatches"].get<uint64_t>(), report["replays"].get<uint64_t>(),
              report["chunks_verified"].get<int64_t>(), report["chunks_failed"].get<int64_t>(),
              report["simulated_seconds"].get<double>(), report["seconds"].get<double>());
  bool ok = failed.empty() && report["replay_mismatches"].get<uint64_t>() == 0;
  if (*json) {
    const Status written = (*json)->write(report);
    if (!written.is_ok()) {
      std::fprintf(stderr, "kvferry sim: %s\n", written.to_string().c_str());
      ok = false;
    }
  }
  return ok ? 0 : 1;
}

}  // namespace kvferry
