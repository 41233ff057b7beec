#include "tools/demo/report.h"

#include <gmock/gmock.h>

namespace kvferry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

DemoReport verified_report() {
  DemoReport report;
  report.chunks = 5;
  report.chunks_moved = 3;
  report.chunks_reused = 2;
  report.chunks_verified = 5;
  return report;
}

TEST(DemoReport, PercentilesAreOfTheNearestRank) {
  DemoReport report;
  EXPECT_EQ(report.request_percentile_ms(50), 0);
  report.request_ms = {9, 1};
  EXPECT_EQ(report.request_percentile_ms(50), 1);
  EXPECT_EQ(report.request_percentile_ms(99), 9);
  report.request_ms.clear();
  for (int i = 1; i <= 200; ++i) report.request_ms.push_back(i);
  EXPECT_EQ(report.request_percentile_ms(50), 100);
  EXPECT_EQ(report.request_percentile_ms(99), 198);
  EXPECT_EQ(report.request_percentile_ms(100), 200);
}

TEST(DemoReport, ARunWithoutProblemsIsVerified) {
  const DemoReport report = verified_report();
  EXPECT_THAT(report.problems(), IsEmpty());
  EXPECT_TRUE(report_json({}, report).at("verified").get<bool>());
  EXPECT_THAT(report_table({}, report), Not(HasSubstr("leaked")));
  EXPECT_THAT(report_table({}, report), Not(HasSubstr("reconnects")));
}

TEST(DemoReport, ALostConnectionThatWasMadeAgainIsNoProblemAndCounted) {
  DemoReport report = verified_report();
  report.reconnects = 2;
  EXPECT_THAT(report.problems(), IsEmpty());
  EXPECT_THAT(report_table({}, report), HasSubstr("reconnects   2: the connection was lost"));
  EXPECT_EQ(report_json({}, report).at("reconnects"), 2);
}

TEST(DemoReport, WhatIsNotVerifiedSaysWhyInTableAndJson) {
  struct Case {
    const char* expected;
    void (*spoil)(DemoReport&);
  };
  const std::vector<Case> cases = {
      {"1 leases", [](DemoReport& r) { r.leases_leaked = 1; }},
      {"1 of 5 chunks were not verified", [](DemoReport& r) { r.chunks_verified = 4; }},
      {"1 of 5 chunks were neither moved nor reused", [](DemoReport& r) { r.chunks_moved = 2; }},
      {"2 chunks were corrupted on purpose, 0 found",
       [](DemoReport& r) { r.chunks_corrupted = 2; }},
      {"not the same ones", [](DemoReport& r) { r.corrupted_keys_found = false; }},
      {"link lost", [](DemoReport& r) { r.errors = {"link lost"}; }},
  };
  for (const Case& each : cases) {
    DemoReport report = verified_report();
    each.spoil(report);
    EXPECT_THAT(report.problems(), ElementsAre(HasSubstr(each.expected)));
    EXPECT_THAT(report_table({}, report), HasSubstr(each.expected));
    const nlohmann::json json = report_json({}, report);
    EXPECT_FALSE(json.at("verified").get<bool>());
    EXPECT_THAT(json.at("errors").dump(), HasSubstr(each.expected));
  }
}

TEST(DemoReport, WhatWasNotMeasuredIsNoRate) {
  DemoReport report = verified_report();
  report.pipeline.gbps = 3.5;
  DemoPlan plan;
  plan.skip_ceilings = true;
  EXPECT_THAT(report_table(plan, report), HasSubstr("gather       not measured\n"));
  EXPECT_THAT(report_table(plan, report), HasSubstr("3.50 GB/s   ceiling not measured\n"));
  const nlohmann::json json = report_json(plan, report);
  EXPECT_TRUE(json.at("gather_gbps").is_null());
  EXPECT_TRUE(json.at("copy_ceiling_gbps").is_null());
  EXPECT_TRUE(json.at("pipeline_ceiling_gbps").is_null());
  EXPECT_EQ(json.at("end_to_end_gbps"), 3.5);
  EXPECT_EQ(json.at("ceilings_measured"), false);
}

TEST(DemoReport, JsonHasWhatTheRunWasAskedFor) {
  DemoPlan plan;
  plan.seed = 7;
  EXPECT_TRUE(report_json(plan, {}).at("max_tokens").is_null());
  plan.max_tokens = 300;
  plan.corrupt_one_in = 10;
  DemoReport report;
  report.transfer_seconds = 0.25;
  report.gather = {8.0, 10.0};
  const nlohmann::json json = report_json(plan, report);
  EXPECT_EQ(json.at("seed"), 7);
  EXPECT_EQ(json.at("max_tokens"), 300);
  EXPECT_EQ(json.at("corrupt_one_in"), 10);
  EXPECT_EQ(json.at("transfer_seconds"), 0.25);
  EXPECT_EQ(json.at("copy_ceiling_gbps"), 10.0);
  EXPECT_EQ(json.at("ceilings_measured"), true);
}

}  // namespace
}  // namespace kvferry
