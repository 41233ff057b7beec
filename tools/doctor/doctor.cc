#include "tools/doctor/doctor.h"

#include <array>
#include <cstdio>
#include <string_view>

#include "kvferry/version.h"
#include "tools/doctor/probes.h"
#include "tools/json_file.h"

namespace kvferry {
namespace {

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

}  // namespace

std::vector<Finding> examine_machine() {
  std::vector<Finding> findings = {
      probe_processor(),     probe_memory(),        probe_huge_pages(), probe_cuda(),
      probe_process_reads(), probe_locked_memory(), probe_open_files(), probe_shared_memory(),
  };
  for (Finding& finding : probe_transports()) findings.push_back(std::move(finding));
  return findings;
}

int run_doctor(const std::string& json_path) {
  const std::vector<Finding> findings = examine_machine();
  std::printf("kvferry %s on this machine\n\n", KVFERRY_VERSION_STRING);
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& finding : findings) {
    std::printf("  %-8s %-18s %s\n", std::string(health_name(finding.health)).c_str(),
                finding.subject.c_str(), finding.found.c_str());
    if (!finding.advice.empty())
      std::printf("  %-8s %-18s -> %s\n", "", "", finding.advice.c_str());
    list.push_back({{"subject", finding.subject},
                    {"health", health_name(finding.health)},
                    {"found", finding.found},
                    {"advice", finding.advice}});
  }
  const bool works = can_move_chunks(findings);
  std::printf("\n%s\n", works ? "Chunks can move between processes here: try kvferry demo."
                              : "Chunks cannot move between processes here; see above.");
  if (!json_path.empty()) {
    const Status written = write_json_file(
        json_path, {{"version", KVFERRY_VERSION_STRING}, {"works", works}, {"findings", list}});
    if (!written.is_ok()) {
      std::fprintf(stderr, "kvferry doctor: %s\n", std::string(written.message()).c_str());
      return 2;
    }
  }
  return works ? 0 : 1;
}

}  // namespace kvferry
