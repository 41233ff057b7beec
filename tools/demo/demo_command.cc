#include "tools/demo/demo_command.h"

#include <cstdio>
#include <string>

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
  if (!plan->json.empty()) {
    const Status written = write_json_file(plan->json, report_json(*plan, *report));
    if (!written.is_ok()) {
      complain(written);
      return 1;
    }
  }
  if (report->is_clean()) return 0;
  std::fprintf(stderr, "kvferry demo: the run did not verify; see the table above\n");
  return 1;
}

}  // namespace kvferry
