#include "tools/demo/demo_command.h"

#include <cstdio>
#include <string>
#include <vector>

#include "tools/demo/report.h"
#include "tools/demo/supervisor.h"
#include "tools/json_file.h"

namespace kvferry {
namespace {

void complain(const Status& status) {
  std::fprintf(stderr, "kvferry demo: %s\n", std::string(status.message()).c_str());
}

}  // namespace

int run_demo(const DemoFlags& flags) {
  const auto plan = plan_demo(flags);
  if (!plan) {
    complain(plan.error());
    return 2;
  }
  const auto report = Supervisor(*plan).run();
  if (!report) {
    complain(report.error().with_context("the run ended early"));
    return 1;
  }
  std::fputs(report_table(*plan, *report).c_str(), stdout);
  std::fflush(stdout);  // before complaints, also where both streams are one pipe
  if (!plan->json.empty()) {
    const Status written = write_json_file(plan->json, report_json(*plan, *report));
    if (!written.is_ok()) {
      complain(written);
      return 1;
    }
  }
  const std::vector<std::string> problems = report->problems();
  if (problems.empty()) return 0;
  std::fprintf(stderr, "kvferry demo: the run did not verify: %s%s\n", problems.front().c_str(),
               problems.size() > 1 ? " (the table has more)" : "");
  return 1;
}

}  // namespace kvferry
