#include "tools/demo/demo_command.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/demo/report.h"
#include "tools/demo/supervisor.h"
#include "tools/host_memory.h"
#include "tools/interrupts.h"
#include "tools/json_file.h"
#include "tools/standard_streams.h"

namespace kvferry {
namespace {

constexpr int kSignalExitCode = 128;  // as shells count: this and the signal

void complain(const Status& status) {
  std::fprintf(stderr, "kvferry demo: %s\n", std::string(status.message()).c_str());
}

/// Runs the workers to their end; `interrupt` is the signal that came meanwhile, else 0.
Result<DemoReport> supervise(const DemoPlan& plan, int& interrupt) {
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Interrupts> interrupts, Interrupts::create());
  auto report = Supervisor(plan, *interrupts).run();
  interrupt = interrupts->signal();
  return report;
}

/// Where a run's results go, besides the standard output; null what is not wanted.
struct OutputFiles {
  std::unique_ptr<JsonFile> report;
  std::unique_ptr<JsonFile> trace;
};

Result<OutputFiles> open_files(const DemoFlags& flags) {
  OutputFiles files;
  KVFERRY_ASSIGN_OR_RETURN(files.report, JsonFile::open_flag("--json", flags.json));
  KVFERRY_ASSIGN_OR_RETURN(files.trace, JsonFile::open_flag("--trace-out", flags.trace_out));
  return files;
}

/// Writes the report everywhere; returns the exit code.
int publish(const DemoPlan& plan, const DemoReport& report, const OutputFiles& files) {
  int code = 0;
  const Status printed = print_out(report_table(plan, report));
  const Status written = files.report ? files.report->write(report_json(plan, report)) : Status();
  const Status traced = files.trace ? files.trace->write_text(report.trace) : Status();
  for (const Status& output : {printed, written, traced}) {
    if (output.is_ok()) continue;
    complain(output);
    code = 1;
  }
  const std::vector<std::string> problems = report.problems();
  if (problems.empty()) return code;
  std::fprintf(stderr, "kvferry demo: the run did not verify: %s%s\n", problems.front().c_str(),
               problems.size() > 1 ? " (the table has more)" : "");
  return 1;
}

}  // namespace

int run_demo(const DemoFlags& flags) {
  const auto available = available_memory();
  const auto plan = plan_demo(flags, available ? std::optional(*available) : std::nullopt);
  if (!plan) {
    complain(plan.error());
    return 2;
  }
  const auto files = open_files(flags);
  if (!files) {
    complain(files.error());
    return 2;
  }
  int interrupt = 0;
  const auto report = supervise(*plan, interrupt);
  if (interrupt != 0) {
    std::fprintf(stderr, "kvferry demo: interrupted by %s\n", signal_name(interrupt).c_str());
    return kSignalExitCode + interrupt;
  }
  if (!report) {
    complain(report.error().with_context("the run ended early"));
    return 1;
  }
  return publish(*plan, *report, *files);
}

}  // namespace kvferry
