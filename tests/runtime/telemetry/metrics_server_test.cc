#include "runtime/telemetry/metrics_server.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

#include "runtime/telemetry/backend_counters.h"
#include "tests/support/http_get.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

CacheStats some_stats() {
  CacheStats stats;
  stats.lookups = 7;
  stats.mismatched_chunks = 2;
  stats.pool_bytes = 4096;
  stats.refused_prefetch_chunks = 13;
  stats.prefetch_in_flight_bytes = 17;
  stats.max_prefetch_in_flight_bytes = 19;
  stats.timed_out_pins = 23;
  for (LatencyReport* latency :
       {&stats.lookup_latency, &stats.retrieve_latency, &stats.store_latency}) {
    latency->upper_bounds_seconds = {0.001, 0.01};
    latency->counts = {3, 2, 1};
    latency->sum_seconds = 0.5;
  }
  SinkReport& sink = stats.sinks.emplace_back();
  sink.name = "local_disk";
  sink.hits = 11;
  sink.max_queued_gets = 29;
  sink.max_queued_puts = 31;
  sink.misses = {{"not_held", 5}, {"data_loss", 1}};
  sink.own_counters = {{"torn", 3}};
  sink.own_gauges = {{"quarantined_bytes", 42}};
  return stats;
}

TEST(MetricsServer, ShowsHitsMissesByCauseBytesAndQuarantine) {
  const auto server = make_metrics_server("127.0.0.1", 0, some_stats);
  ASSERT_THAT(server, IsOk());
  const std::string text = http_get((*server)->port(), "/metrics");
  EXPECT_THAT(text, HasSubstr("kvferry_lookups_total 7"));
  EXPECT_THAT(text, HasSubstr("kvferry_mismatched_chunks_total 2"));
  EXPECT_THAT(text, HasSubstr("kvferry_sink_hits_total{sink=\"local_disk\"} 11"));
  EXPECT_THAT(text,
              HasSubstr("kvferry_sink_misses_total{sink=\"local_disk\",cause=\"data_loss\"} 1"));
  EXPECT_THAT(text, HasSubstr("kvferry_operation_seconds_count{operation=\"store\"} 6"));
  EXPECT_THAT(text,
              HasSubstr("kvferry_backend_events_total{sink=\"local_disk\",event=\"torn\"} 3"));
  EXPECT_THAT(
      text, HasSubstr("kvferry_backend_value{sink=\"local_disk\",name=\"quarantined_bytes\"} 42"));
}

TEST(MetricsServer, ShowsTheBoundsOfPrefetchesPinsAndQueues) {
  const auto server = make_metrics_server("127.0.0.1", 0, some_stats);
  ASSERT_THAT(server, IsOk());
  const std::string text = http_get((*server)->port(), "/metrics");
  for (const char* line :
       {"kvferry_prefetch_refused_total 13\n", "kvferry_prefetch_in_flight_bytes 17\n",
        "kvferry_prefetch_in_flight_limit_bytes 19\n", "kvferry_timed_out_pins_total 23\n",
        "kvferry_sink_queue_limit_items{sink=\"local_disk\",queue=\"retrieve\"} 29\n",
        "kvferry_sink_queue_limit_items{sink=\"local_disk\",queue=\"prefetch\"} 29\n",
        "kvferry_sink_queue_limit_items{sink=\"local_disk\",queue=\"store\"} 31\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(MetricsServer, RefusesAPortThatIsTakenAndSaysWhatToDo) {
  const auto first = make_metrics_server("127.0.0.1", 0, some_stats);
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(make_metrics_server("127.0.0.1", (*first)->port(), some_stats),
              StatusIs(StatusCode::kUnavailable, HasSubstr("metrics_port")));
}

TEST(MetricsServer, TheDocumentAndTheBoardNameWhatIsServed) {
  const auto server = make_metrics_server("127.0.0.1", 0, some_stats);
  ASSERT_THAT(server, IsOk());
  const std::string text = http_get((*server)->port(), "/metrics");
  const auto names_in = [](const std::string& from, const std::regex& pattern) {
    std::set<std::string> names;
    for (auto each = std::sregex_iterator(from.begin(), from.end(), pattern);
         each != std::sregex_iterator(); ++each) {
      names.insert((*each)[1].str());
    }
    return names;
  };
  const auto served = names_in(text, std::regex("# TYPE (kvferry_[a-z_]+) "));
  const auto read = [](const char* path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_EQ(names_in(read(KVFERRY_DOCS "/metrics.md"), std::regex("\\| `(kvferry_[a-z_]+)` ")),
            served);
  for (const std::string& name :
       names_in(read(KVFERRY_DOCS "/grafana/kvferry.json"), std::regex("(kvferry_[a-z_]+)"))) {
    const bool is_bucket = name == "kvferry_operation_seconds_bucket";
    EXPECT_TRUE(is_bucket || served.contains(name)) << name;
  }
}

TEST(BackendCounters, NamesThatAreMadeUpWithoutEndAreLeftOut) {
  BackendCounters counters;
  for (int i = 0; i < 1000; ++i) counters.add("name_" + std::to_string(i), 2);
  counters.add("Bad-Name", 1);
  counters.set("gauge", 1.5);
  EXPECT_EQ(counters.counters().size(), BackendCounters::kMaxNames);
  EXPECT_EQ(counters.counters().at("name_0"), 2);
  EXPECT_EQ(counters.gauges().at("gauge"), 1.5);
}

}  // namespace
}  // namespace kvferry
