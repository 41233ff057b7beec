#include "tools/plugin/check_report.h"

#include <array>
#include <cstdio>

namespace kvferry {
namespace {

struct Rule {
  const char* counter;
  const char* broken;  ///< what the plugin did
};
constexpr std::array<Rule, 3> kRules = {{
    {"external_violations", "broke a rule of kvferry/plugin_abi.h"},
    {"external_timeouts", "did not answer items by their deadline (plugin_timeout_ms)"},
    {"external_abandoned", "did not complete close() in time, and was left behind"},
}};

uint64_t count_of(const CaseVerdict& verdict, const char* counter) {
  const auto found = verdict.counters.find(counter);
  return found == verdict.counters.end() ? 0 : found->second;
}

}  // namespace

std::string describe_failure(const std::string& library, const CaseEnd& end) {
  const CaseReport& report = end.report;
  std::string verdict = report.verdict.has_value() ? report.verdict->failure : "";
  if (end.fault.empty()) return verdict;
  std::string text = "its process " + end.fault;
  if (!report.is_made) {
    text = "in the constructor: " + text;
  } else if (report.verdict.has_value()) {
    text +=
        ", after the case was through: when the process ends, a static destructor or a thread "
        "that is left still runs";
  }
  if (!report.crash_place.empty()) {
    text += ", at " + report.crash_place + " of the library (addr2line -Cfe " + library + " " +
            report.crash_place + " names the line)";
  }
  return verdict.empty() ? text : verdict + "; then " + text;
}

void CheckReport::print_head() const {
  const BackendTraits& traits = checked_.traits;
  std::printf("%s: class %s, version %s:%s%s%s\n\n", library_.c_str(), checked_.name.c_str(),
              checked_.version.c_str(), traits.retains ? " retains" : " retains nothing",
              traits.pins ? ", pins" : "", traits.persists ? ", persists" : "");
  std::fflush(stdout);
}

void CheckReport::take(const std::string& name, const CaseEnd& end, double seconds) {
  const std::string failure = describe_failure(library_, end);
  if (!failure.empty()) ++num_failed_;
  note(failure.empty() ? "PASS" : "FAIL", name, failure, seconds);
  if (!end.report.verdict.has_value()) return;
  verdicts_.emplace_back(name, *end.report.verdict);
  if (end.report.verdict->load.put_gb_per_s > 0) load_ = end.report.verdict->load;
}

void CheckReport::judge_manners() {
  std::string text;
  for (const Rule& rule : kRules) {
    uint64_t total = 0;
    std::string where;
    int num_cases = 0;
    for (const auto& [name, verdict] : verdicts_) {
      const uint64_t count = count_of(verdict, rule.counter);
      if (count == 0) continue;
      total += count;
      if (++num_cases > 1) continue;
      where = "in " + name;
      if (rule.counter == kRules.front().counter && !verdict.violations.empty()) {
        where += ": " + verdict.violations.front();
      }
    }
    if (total == 0) continue;
    text += (text.empty() ? "" : "; ") + std::string("it ") + rule.broken + " " +
            std::to_string(total) + " times (" + rule.counter + ") in " +
            std::to_string(num_cases) + " cases, first " + where;
  }
  if (!text.empty()) ++num_failed_;
  note(text.empty() ? "PASS" : "FAIL", "BreaksNoRuleOnTheWay", text, 0);
}

void CheckReport::print_foot() const {
  std::printf("\n%s", keeps_contract() ? "It keeps the contract.\n"
                                       : (std::to_string(num_failed_) +
                                          " failed. To look into one, as under a debugger: the "
                                          "same command with --case NAME.\n")
                                             .c_str());
  if (load_.put_gb_per_s > 0 && checked_.traits.retains) {
    std::printf("put %.2f GB/s, get %.2f GB/s, 8 chunks at a time\n", load_.put_gb_per_s,
                load_.get_gb_per_s);
  }
}

nlohmann::json CheckReport::to_json() const {
  std::map<std::string, uint64_t> counters;
  for (const auto& [name, verdict] : verdicts_) {
    for (const auto& [counter, count] : verdict.counters) counters[counter] += count;
  }
  return {{"library", library_},
          {"class", checked_.name},
          {"version", checked_.version},
          {"traits",
           {{"retains", checked_.traits.retains},
            {"pins", checked_.traits.pins},
            {"persists", checked_.traits.persists}}},
          {"failed", num_failed_},
          {"put_gb_per_s", load_.put_gb_per_s},
          {"get_gb_per_s", load_.get_gb_per_s},
          {"counters", counters},
          {"cases", cases_}};
}

void CheckReport::note(const char* verdict, const std::string& name, const std::string& text,
                       double seconds) {
  std::printf("%s  %-36s %s\n", verdict, name.c_str(), text.c_str());
  std::fflush(stdout);
  cases_.push_back({{"name", name}, {"verdict", verdict}, {"text", text}, {"seconds", seconds}});
}

}  // namespace kvferry
