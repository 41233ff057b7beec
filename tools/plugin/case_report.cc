#include "tools/plugin/case_report.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

namespace kvferry {
namespace {

using Json = nlohmann::json;

void write_line(int fd, const Json& object) {
  // What is not UTF-8 is the plugin's words.
  std::string line = object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  for (size_t done = 0; done < line.size();) {
    const ssize_t n = ::write(fd, line.data() + done, line.size() - done);
    if (n <= 0) return;  // who asked is gone
    done += static_cast<size_t>(n);
  }
}

CheckedClass read_class(const Json& object) {
  CheckedClass loaded;
  loaded.name = object.at("class");
  loaded.version = object.at("version");
  loaded.traits = {.retains = object.at("retains"),
                   .pins = object.at("pins"),
                   .persists = object.at("persists"),
                   .is_memory = false};
  return loaded;
}

CaseVerdict read_verdict(const Json& object) {
  CaseVerdict verdict;
  verdict.failure = object.at("failure");
  verdict.violations = object.at("violations").get<std::vector<std::string>>();
  verdict.counters = object.at("counters").get<std::map<std::string, uint64_t>>();
  verdict.load = {.put_gb_per_s = object.at("put_gb_per_s"),
                  .get_gb_per_s = object.at("get_gb_per_s")};
  return verdict;
}

}  // namespace

void CaseReport::take_line(std::string_view line) {
  const Json object = Json::parse(line, nullptr, false);
  if (!object.is_object()) return;
  try {
    if (object.contains("refused")) refusal = object.at("refused");
    if (object.contains("class")) loaded = read_class(object);
    if (object.contains("made")) is_made = true;
    if (object.contains("failure")) verdict = read_verdict(object);
    if (object.contains("crashed_at")) crash_place = object.at("crashed_at");
  } catch (const Json::exception&) {  // NOLINT(bugprone-empty-catch): no report of ours
  }
}

void CaseReporter::refused(const std::string& why) const { write_line(fd_, {{"refused", why}}); }

void CaseReporter::loaded(const CheckedClass& loaded) const {
  write_line(fd_, {{"class", loaded.name},
                   {"version", loaded.version},
                   {"retains", loaded.traits.retains},
                   {"pins", loaded.traits.pins},
                   {"persists", loaded.traits.persists}});
}

void CaseReporter::made() const { write_line(fd_, {{"made", true}}); }

void CaseReporter::ended(const CaseVerdict& verdict) const {
  write_line(fd_, {{"failure", verdict.failure},
                   {"violations", verdict.violations},
                   {"counters", verdict.counters},
                   {"put_gb_per_s", verdict.load.put_gb_per_s},
                   {"get_gb_per_s", verdict.load.get_gb_per_s}});
}

}  // namespace kvferry
