#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "kvferry/status.h"
#include "tools/demo/report.h"

namespace kvferry {

/// The supervisor's share of measuring: tells both workers what to run, keeps the rounds, and
/// reports medians.
///
/// Stages and ceilings take turns, so that both see the same machine; the bare pipeline, which
/// judges the replay, runs before, between and after its requests.
class StageMeasurer {
 public:
  struct Workers {
    std::function<Result<nlohmann::json>(nlohmann::json)> prefill;
    std::function<Result<nlohmann::json>(nlohmann::json)> decode;
    /// The same command on both at once; the answers of prefill and decode.
    std::function<Result<std::pair<nlohmann::json, nlohmann::json>>(nlohmann::json, nlohmann::json)>
        both;
  };

  explicit StageMeasurer(Workers workers) : workers_(std::move(workers)) {}

  /// Before the replay. Errors: as the workers say.
  Status measure_stages(int peer_class, DemoReport& report);
  /// Between requests; does nothing most of the time.
  Status between_requests(int64_t done, int64_t total);
  Status after_replay(DemoReport& report);

 private:
  Status open(int peer_class);
  Result<double> round(const char* kind);
  Status pipeline_rounds(int count);

  Workers workers_;
  std::vector<double> pipeline_;
  int64_t tenths_done_ = 0;
};

}  // namespace kvferry
