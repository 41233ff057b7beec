#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

#include "tools/json_file.h"
#include "tools/plugin/case_process.h"
#include "tools/plugin/check_log.h"
#include "tools/plugin/check_options.h"
#include "tools/plugin/check_report.h"
#include "tools/plugin/crash_note.h"
#include "tools/plugin/plugin_command.h"

namespace kvferry {
namespace {

int refuse(const std::string& why) {
  std::fprintf(stderr, "kvferry plugin check: %s\n", why.c_str());
  return 2;
}

std::string message_of(const Status& status) { return std::string(status.message()); }

CheckedClass checked_class(const PluginClass& found) {
  return {.name = found.table.name, .version = found.plugin_version, .traits = found.traits()};
}

// ---- in the process of a case

/// Runs one case of a class that is loaded.
CaseVerdict run_case(const CheckCase& check_case, ExternalOptions options, BackendTraits traits,
                     CheckLog& log, const CaseReporter& reporter) {
  PluginCheckFixture fixture(std::move(options), traits);
  fixture.set_logger(log);
  fixture.set_on_made([&reporter, was_told = false]() mutable {
    if (!std::exchange(was_told, true)) reporter.made();
  });
  CaseVerdict verdict;
  verdict.failure = message_of(check_case.run(fixture, verdict.load));
  verdict.violations = log.violations();
  verdict.counters = fixture.metrics().counters();
  return verdict;
}

/// The log, and with it what instances still do, outlives main().
CheckLog& keep(std::unique_ptr<CheckLog> log) {
  static auto& kept = *new std::unique_ptr<CheckLog>();  // reachable, so no leak to a checker
  kept = std::move(log);
  return *kept;
}

Result<CaseVerdict> load_and_run(const PluginCheckFlags& flags, const CaseReporter& reporter) {
  KVFERRY_ASSIGN_OR_RETURN(CheckOptions options, make_check_options(flags));
  KVFERRY_ASSIGN_OR_RETURN(auto log, CheckLog::open(flags.log, *flags.case_name));
  ExternalOptions& external = options.external;
  KVFERRY_ASSIGN_OR_RETURN(const PluginClass found,
                           load_plugin_class(external.module_path, external.class_name));
  external.class_name = found.table.name;
  const CheckedClass checked = checked_class(found);
  reporter.loaded(checked);
  if (reporter.fd() >= 0) {
    install_crash_note(reporter.fd(), reinterpret_cast<const void*>(found.table.create));
  }
  std::string names;
  for (const CheckCase& each : check_cases(checked.traits)) {
    names += " " + each.name;  // NOLINT(performance-inefficient-string-concatenation)
    if (each.name == *flags.case_name) {
      if (!each.why_skipped.empty()) {
        return make_error(StatusCode::kFailedPrecondition,
                          "--case: " + each.name + " is not for this backend: " + each.why_skipped);
      }
      return run_case(each, external, checked.traits, keep(std::move(log)), reporter);
    }
  }
  return make_error(StatusCode::kInvalidArgument,
                    "--case: there is no case '" + *flags.case_name + "'; the cases are" + names);
}

/// One case, for whoever asked over a descriptor, or for a person.
int run_one(const PluginCheckFlags& flags) {
  if (flags.report_fd >= 0) ::fcntl(flags.report_fd, F_SETFD, FD_CLOEXEC);
  const CaseReporter reporter(flags.report_fd);
  const auto verdict = load_and_run(flags, reporter);
  if (!verdict) {
    if (flags.report_fd < 0) return refuse(message_of(verdict.error()));
    reporter.refused(message_of(verdict.error()));
    return 2;
  }
  if (flags.report_fd >= 0) {
    reporter.ended(*verdict);
  } else {
    std::printf("%s  %s %s\n", verdict->failure.empty() ? "PASS" : "FAIL", flags.case_name->c_str(),
                verdict->failure.c_str());
    for (const std::string& each : verdict->violations) std::printf("      %s\n", each.c_str());
  }
  return verdict->failure.empty() ? 0 : 1;
}

// ---- in the process that was asked

/// Why nothing can be checked, if the first case ended so; empty: it can.
std::string why_refused(const std::string& library, const CaseEnd& first) {
  if (!first.report.refusal.empty()) return first.report.refusal;
  if (!first.report.loaded.has_value()) {
    return "loading " + library + ": its process " +
           (first.fault.empty() ? "told nothing" : first.fault) +
           " before kvferry_plugin_query() had returned: a static constructor, or that function";
  }
  if (first.report.is_made) return "";
  const std::string failure = describe_failure(library, first);
  return first.fault.empty()
             ? failure
             : "class " + first.report.loaded->name + " of " + library + ", " + failure;
}

Result<CaseEnd> timed_case(const PluginCheckFlags& flags, const std::string& name,
                           std::chrono::seconds limit, double& seconds) {
  const auto start = std::chrono::steady_clock::now();
  auto end = run_case_process(flags, name, limit);
  seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return end;
}

/// All cases. The report, or why there is none.
Result<CheckReport> run_all(const PluginCheckFlags& flags) {
  KVFERRY_ASSIGN_OR_RETURN(const CheckOptions options, make_check_options(flags));
  const std::string& library = options.external.module_path;
  const std::string first_name = check_cases({}).front().name;
  double seconds = 0;
  KVFERRY_ASSIGN_OR_RETURN(const CaseEnd first,
                           timed_case(flags, first_name, options.case_limit, seconds));
  const std::string refusal = why_refused(library, first);
  if (!refusal.empty()) return make_error(StatusCode::kInvalidArgument, refusal);

  CheckReport report(library, *first.report.loaded);
  report.print_head();
  report.take(first_name, first, seconds);
  for (const CheckCase& each : check_cases(first.report.loaded->traits)) {
    if (each.name == first_name) continue;
    if (!each.why_skipped.empty()) {
      report.skip(each.name, each.why_skipped);
      continue;
    }
    KVFERRY_ASSIGN_OR_RETURN(const CaseEnd end,
                             timed_case(flags, each.name, options.case_limit, seconds));
    report.take(each.name, end, seconds);
  }
  report.judge_manners();
  report.print_foot();
  return report;
}

}  // namespace

int run_plugin_check(const PluginCheckFlags& flags) {
  if (flags.case_name.has_value()) return run_one(flags);
  auto json_file = JsonFile::open_flag("--json", flags.json);
  if (!json_file) return refuse(message_of(json_file.error()));
  if (flags.log.has_value()) {  // of this run only
    std::FILE* file = std::fopen(flags.log->c_str(), "we");
    if (file != nullptr) std::fclose(file);
  }
  const auto report = run_all(flags);
  if (!report) return refuse(message_of(report.error()));
  if (*json_file != nullptr) {
    if (const Status status = (*json_file)->write(report->to_json()); !status.is_ok()) {
      return refuse(message_of(status));
    }
  }
  return report->keeps_contract() ? 0 : 1;
}

}  // namespace kvferry
