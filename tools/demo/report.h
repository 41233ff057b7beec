#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/demo/demo_options.h"

namespace kvferry {

/// A rate of ours beside what bounds it, measured in the same run. GB/s, decimal; empty where it
/// was not measured.
struct StageRate {
  std::optional<double> gbps;
  std::optional<double> ceiling_gbps;
};

/// What a run of the demo found.
struct DemoReport {
  std::string path;  ///< how the workers reach one another

  int64_t requests = 0;
  int64_t requests_cut = 0;
  int64_t tokens = 0;
  int64_t tokens_held = 0;  ///< found by lookup, not moved
  int64_t chunks = 0;
  int64_t chunks_moved = 0;
  int64_t chunks_moved_again = 0;  ///< of those moved: had been held once and evicted
  int64_t chunks_reused = 0;
  int64_t chunks_verified = 0;
  int64_t chunks_evicted = 0;
  int64_t chunks_corrupted = 0;
  int64_t chunks_mismatched = 0;
  int64_t chunks_refetched = 0;
  int64_t reconnects = 0;            ///< connections that were lost and made again
  bool corrupted_keys_found = true;  ///< the mismatched chunks are those corrupted
  int64_t bytes_moved = 0;
  double transfer_seconds = 0;
  int64_t leases_leaked = 0;  ///< still held seconds after the last chunk
  int64_t quarantined_bytes = 0;
  int64_t prefill_rss_peak_bytes = 0;
  int64_t decode_rss_peak_bytes = 0;
  std::vector<double> request_ms;
  std::vector<std::string> errors;
  std::string trace;  ///< a Chrome trace, if one was wanted

  StageRate gather;
  StageRate wire;
  StageRate scatter;
  StageRate pipeline;  ///< end to end, beside the bare pipeline

  /// Nearest rank: the smallest time that so many percent of the requests did not exceed.
  double request_percentile_ms(double percentile) const;

  /// Empty when every chunk of every request was moved or reused, and verified, every fault found
  /// and nothing leaked; else why not, a line each, beginning with `errors`.
  std::vector<std::string> problems() const;
};

nlohmann::json report_json(const DemoPlan& plan, const DemoReport& report);
/// What a run has done so far, for the line that people see during it.
std::string progress_text(const DemoReport& report);
std::string report_table(const DemoPlan& plan, const DemoReport& report);

}  // namespace kvferry
