#include "tools/demo/demo_command.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/demo/report.h"
#include "tools/demo/supervisor.h"
#include "tools/host_memory.h"
#include "tools/json_file.h"
#include "tools/standard_streams.h"

namespace kvferry {
namespace {

void complain(const Status& status) {
  std::fprintf(stderr, "kvferry demo: %s\n", std::string(status.message()).c_str());
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
  const auto report = Supervisor(*plan).run();
  if (!report) {
    complain(report.error().with_context("the run ended early"));
    return 1;
  }
  return publish(*plan, *report, json_file.get());
}

}  // namespace kvferry
