#include "tools/doctor/doctor.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string_view>

#include "kvferry/version.h"
#include "tools/doctor/engine_check.h"
#include "tools/doctor/probe_cuda.h"
#include "tools/doctor/probes.h"
#include "tools/json_file.h"
#include "tools/standard_streams.h"

namespace kvferry {
namespace {

constexpr size_t kHealthWidth = 11;

std::string_view health_name(Health health) {
  switch (health) {
    case Health::kOk:
      return "ok";
    case Health::kLimited:
      return "limited";
    case Health::kMissing:
      return "missing";
  }
  return "unknown";
}

bool can_move_chunks(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    if (finding.subject == kPathSubject) return finding.health != Health::kMissing;
  }
  return false;
}

void complain(const Status& status) {
  std::fprintf(stderr, "kvferry doctor: %s\n", std::string(status.message()).c_str());
}

}  // namespace

std::vector<Finding> examine_machine() {
  std::vector<Finding> findings = {
      probe_processor(),     probe_memory(),
      probe_huge_pages(),    cuda_finding(query_cuda_devices()),
      probe_process_reads(), probe_locked_memory(),
      probe_open_files(),    probe_shared_memory(),
  };
  for (Finding& finding : probe_transports()) findings.push_back(std::move(finding));
  return findings;
}

std::string findings_text(const std::vector<Finding>& findings, bool works) {
  size_t width = 0;
  for (const Finding& finding : findings) width = std::max(width, finding.subject.size());
  const auto line = [width](std::string_view health, std::string subject, const std::string& text) {
    subject.resize(width, ' ');
    std::string start = "  " + std::string(health);
    start.resize(kHealthWidth, ' ');
    return start + subject + "  " + text + "\n";
  };
  std::string out = "kvferry " KVFERRY_VERSION_STRING " on this machine\n\n";
  for (const Finding& finding : findings) {
    out += line(health_name(finding.health), finding.subject, finding.found);
    if (!finding.advice.empty()) out += line("", "", "-> " + finding.advice);
  }
  return out + "\n" +
         (works ? "Chunks can move between processes here: try kvferry demo.\n"
                : "Chunks cannot move between processes here; see above.\n");
}

nlohmann::json findings_json(const std::vector<Finding>& findings, bool works) {
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& finding : findings) {
    nlohmann::json item = {{"subject", finding.subject},
                           {"health", health_name(finding.health)},
                           {"found", finding.found},
                           {"advice", finding.advice}};
    if (finding.value) {
      item["value"] = *finding.value;
      item["unit"] = finding.unit;
    }
    list.push_back(std::move(item));
  }
  return {{"version", KVFERRY_VERSION_STRING}, {"works", works}, {"findings", list}};
}

int run_doctor(const DoctorFlags& flags) {
  const auto json_file = JsonFile::open_flag("--json", flags.json);
  if (!json_file) {
    complain(json_file.error());
    return 2;
  }
  nlohmann::json engine;
  if (flags.engine || flags.token_file) {
    if (!flags.engine || !flags.token_file) {
      complain({StatusCode::kInvalidArgument, "--engine and --token-file go together"});
      return 2;
    }
    auto report = ask_engine(*flags.engine, *flags.token_file);
    if (!report) {
      complain(report.error());
      return 2;
    }
    engine = *std::move(report);
  }
  const std::vector<Finding> findings = examine_machine();
  const bool works = can_move_chunks(findings);
  nlohmann::json json = findings_json(findings, works);
  std::string text = findings_text(findings, works);
  if (!engine.is_null()) {
    text += engine_text(engine);
    json["engine"] = std::move(engine);
  }
  const Status printed = print_out(text);
  const Status written = *json_file ? (*json_file)->write(json) : Status();
  for (const Status& output : {printed, written}) {
    if (!output.is_ok()) complain(output);
  }
  return works && printed.is_ok() && written.is_ok() ? 0 : 1;
}

}  // namespace kvferry
