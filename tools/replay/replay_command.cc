#include "tools/replay/replay_command.h"

#include <algorithm>
#include <cstdio>

#include "kvferry/mutex.h"
#include "runtime/spdlog_logger.h"
#include "tools/interrupts.h"
#include "tools/json_file.h"
#include "tools/progress.h"
#include "tools/replay/capacity_curve.h"
#include "tools/replay/replay_run.h"

namespace kvferry {
namespace {

/// A line each, as the configuration's own errors have their place in front.
int refuse(const Status& status) {
  std::string text(status.message());
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::fprintf(stderr, "kvferry replay: %s\n", text.substr(begin, end - begin).c_str());
    begin = end + 1;
  }
  return 2;
}

/// SIGINT and its like, for several threads that ask.
class SharedInterrupts {
 public:
  explicit SharedInterrupts(Interrupts& interrupts) : interrupts_(interrupts) {}
  int signal() KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return interrupts_.signal();
  }

 private:
  Mutex mutex_;
  Interrupts& interrupts_ KVFERRY_GUARDED_BY(mutex_);
};

Result<std::unique_ptr<Logger>> make_logger(const std::optional<std::string>& path) {
  if (!path) return make_stderr_logger("replay", LogLevel::kWarn);
  auto logger = make_file_logger("replay", *path, LogLevel::kInfo);
  if (!logger) return make_error(logger.error().with_context("--log"));
  return logger;
}

}  // namespace

int run_replay(const ReplayFlags& flags) {
  const auto plan = plan_replay(flags);
  if (!plan) return refuse(plan.error());
  const auto json = JsonFile::open_flag("--json", flags.json);
  if (!json) return refuse(json.error());
  const auto logger = make_logger(flags.log);
  if (!logger) return refuse(logger.error());
  const auto interrupts = Interrupts::create();  // before any thread
  if (!interrupts) return refuse(interrupts.error());
  for (const std::string& notice : plan->notices) {
    std::fprintf(stderr, "kvferry replay: warning: %s\n", notice.c_str());
  }
  auto run = ReplayRun::create(*plan, logger->get());
  if (!run) return refuse(run.error());

  SharedInterrupts signals(**interrupts);
  ReplayReport report;
  {
    Progress progress("kvferry replay", plan->requests.size());
    report = (*run)->run(
        [&progress](const ReplayReport& so_far) {
          progress.show(static_cast<size_t>(so_far.requests), progress_text(so_far));
        },
        [&signals] { return signals.signal() != 0; });
  }
  run->reset();  // sinks end in order before their figures are told
  std::fputs(report_table(*plan, report).c_str(), stdout);
  nlohmann::json object = report_json(*plan, report);
  if (flags.capacity_curve) {
    const CapacityCurve curve = make_capacity_curve(report.accesses);
    const auto chunk_bytes = static_cast<size_t>(report.chunk_bytes);
    std::printf("\n%s", curve_text(curve, chunk_bytes).c_str());
    object["capacity_curve"] = curve_json(curve, chunk_bytes);
  }
  const std::vector<std::string> problems = report.problems();
  for (const std::string& problem : problems) {
    std::fprintf(stderr, "kvferry replay: %s\n", problem.c_str());
  }
  bool is_good = problems.empty();
  if (*json) {
    const Status written = (*json)->write(object);
    if (!written.is_ok()) {
      std::fprintf(stderr, "kvferry replay: %s\n", written.to_string().c_str());
      is_good = false;
    }
  }
  const int signal = signals.signal();
  if (signal != 0) return 128 + signal;
  return is_good ? 0 : 1;
}

}  // namespace kvferry
