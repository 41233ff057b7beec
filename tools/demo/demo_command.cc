#include "tools/demo/demo_command.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/demo/interrupts.h"
#include "tools/demo/report.h"
#include "tools/demo/supervisor.h"
#include "tools/host_memory.h"
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

/// Writes the report everywhere; returns the exit code.
int publish(const DemoPlan& plan, const DemoReport& report, JsonFile* json_file) {
  int code = 0;
  const Status printed = print_out(report_table(plan, report));
  const Status written = json_file ? json_file->write(report_json(plan, report)) : Status();
  for (const Status& output : {printed, written}) {
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
  std::unique_ptr<JsonFile> json_file;
  if (flags.json) {
    auto opened = JsonFile::open(*flags.json);
    if (!opened) {
      complain(opened.error().with_context("--json"));
      return 2;
    }
    json_file = *std::move(opened);
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
  return publish(*plan, *report, json_file.get());
}

}  // namespace kvferry
