#include "tools/demo/stage_measurer.h"

#include <algorithm>

namespace kvferry {
namespace {

constexpr int kWireRounds = 7;
constexpr int kPipelineRoundsAtEnds = 3;
constexpr int64_t kRoundBytes = int64_t{256} << 20;

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Status copies(const std::function<Result<nlohmann::json>(nlohmann::json)>& worker,
              StageRate& rate) {
  KVFERRY_ASSIGN_OR_RETURN(const nlohmann::json measured, worker({{"do", "measure_copies"}}));
  rate.gbps = measured.at("gbps").get<double>();
  rate.ceiling_gbps = measured.at("ceiling_gbps").get<double>();
  return {};
}

}  // namespace

Status StageMeasurer::open(int peer_class) {
  const nlohmann::json open = {{"do", "open_wire"}, {"peer_class", peer_class}};
  KVFERRY_ASSIGN_OR_RETURN(const auto opened, workers_.both(open, open));
  KVFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] const auto connected,
      workers_.both({{"do", "connect_wire"}, {"address", opened.second.at("address")}},
                    {{"do", "connect_wire"}, {"address", opened.first.at("address")}}));
  return {};
}

Result<double> StageMeasurer::round(const char* kind) {
  const nlohmann::json round = {{"do", "round"}, {"kind", kind}, {"bytes", kRoundBytes}};
  KVFERRY_ASSIGN_OR_RETURN(const auto rounds, workers_.both(round, round));
  return rounds.second.at("gbps").get<double>();
}

Status StageMeasurer::measure_stages(int peer_class, DemoReport& report) {
  KVFERRY_RETURN_IF_ERROR(copies(workers_.prefill, report.gather));
  KVFERRY_RETURN_IF_ERROR(copies(workers_.decode, report.scatter));
  KVFERRY_RETURN_IF_ERROR(open(peer_class));
  std::vector<double> ours;
  std::vector<double> bare;
  for (int i = 0; i < kWireRounds; ++i) {
    KVFERRY_ASSIGN_OR_RETURN(const double link_gbps, round("link"));
    KVFERRY_ASSIGN_OR_RETURN(const double bare_gbps, round("bare_wire"));
    ours.push_back(link_gbps);
    bare.push_back(bare_gbps);
  }
  report.wire = {median(ours), median(bare)};
  return pipeline_rounds(kPipelineRoundsAtEnds);
}

Status StageMeasurer::pipeline_rounds(int count) {
  for (int i = 0; i < count; ++i) {
    KVFERRY_ASSIGN_OR_RETURN(const double gbps, round("bare_pipeline"));
    pipeline_.push_back(gbps);
  }
  return {};
}

Status StageMeasurer::between_requests(int64_t done, int64_t total) {
  const int64_t tenths = done * 10 / total;
  if (tenths == tenths_done_) return {};
  tenths_done_ = tenths;
  return pipeline_rounds(1);
}

Status StageMeasurer::after_replay(DemoReport& report) {
  KVFERRY_RETURN_IF_ERROR(pipeline_rounds(kPipelineRoundsAtEnds));
  report.pipeline.ceiling_gbps = median(pipeline_);
  return {};
}

}  // namespace kvferry
