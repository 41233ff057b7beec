#include "tools/replay/replay_report.h"

#include "kvferry/version.h"
#include "tools/report_text.h"

namespace kvferry {
namespace {

double share(int64_t part, int64_t all) {
  return all == 0 ? 0 : static_cast<double>(part) / static_cast<double>(all);
}

nlohmann::json latency_json(const std::vector<double>& values) {
  return {{"p50_ms", percentile_of(values, 50)},
          {"p90_ms", percentile_of(values, 90)},
          {"p99_ms", percentile_of(values, 99)},
          {"max_ms", percentile_of(values, 100)}};
}

std::string latency_line(const char* name, const std::vector<double>& values) {
  return format("  %-12s p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, at most %.2f ms\n", name,
                percentile_of(values, 50), percentile_of(values, 90), percentile_of(values, 99),
                percentile_of(values, 100));
}

/// What the hit rate is beside: without a bound in some sink, the optimum has none either.
std::string optimum_text(const ReplayReport& report) {
  if (report.optimum_capacity == 0) {
    return format("no cache that starts empty could pass %.3f, however large",
                  report.optimum.hit_rate());
  }
  return format("no cache of %zu chunks (all tiers) that starts empty could pass %.3f (Belady)",
                report.optimum_capacity, report.optimum.hit_rate());
}

/// "12 unavailable, 3 data_loss"; what a sink just does not hold is no fault.
std::string faults_text(const SinkReport& sink) {
  std::string text;
  for (const auto& [cause, count] : sink.misses) {
    if (count == 0 || cause == "not_held") continue;
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + cause;
  }
  if (sink.failed_puts > 0) {
    text += (text.empty() ? "" : ", ") + std::to_string(sink.failed_puts) + " failed puts";
  }
  if (sink.refused_puts > 0) {
    text += (text.empty() ? "" : ", ") + std::to_string(sink.refused_puts) + " refused puts";
  }
  return text.empty() ? "no faults" : text;
}

nlohmann::json sink_json(const ReplayReport& report, size_t index) {
  const SinkReport& sink = report.stats.sinks[index];
  const int64_t retrieved = report.by_sink[index];
  nlohmann::json misses;
  for (const auto& [cause, count] : sink.misses) misses[cause] = count;
  return {{"name", sink.name},
          {"hit_rate", share(retrieved, report.chunks)},
          {"retrieved_chunks", retrieved},
          {"hits", sink.hits},
          {"hit_bytes", sink.hit_bytes},
          {"misses", misses},
          {"puts", sink.puts},
          {"put_bytes", sink.put_bytes},
          {"failed_puts", sink.failed_puts},
          {"refused_puts", sink.refused_puts},
          {"late_items", sink.late_items},
          {"entries", sink.usage.entries},
          {"bytes", sink.usage.bytes},
          {"capacity_bytes", sink.usage.capacity_bytes},
          {"evictions", {{"room", sink.usage.evicted_entries}, {"data_loss", sink.discarded}}}};
}

}  // namespace

void ReplayReport::add(const RequestOutcome& outcome) {
  ++requests;
  chunks += outcome.chunks;
  retrieved += outcome.retrieved;
  wrong += outcome.wrong;
  stored += outcome.stored;
  lost += outcome.lost;
  by_sink.resize(std::max(by_sink.size(), outcome.by_sink.size()));
  for (size_t i = 0; i < outcome.by_sink.size(); ++i) by_sink[i] += outcome.by_sink[i];
  lookup_ms.push_back(outcome.lookup_ms);
  retrieve_ms.push_back(outcome.retrieve_ms);
  store_ms.push_back(outcome.store_ms);
  if (!outcome.retrieve_fault.empty()) ++cut_retrieves;
  if (!outcome.store_fault.empty()) ++faulty_stores;
  for (const std::string& fault : {outcome.retrieve_fault, outcome.store_fault}) {
    if (!fault.empty()) last_fault = fault;
  }
  if (!outcome.error.empty() && errors.size() < 8) errors.push_back(outcome.error);
}

double ReplayReport::hit_rate() const { return share(retrieved, chunks); }

std::vector<std::string> ReplayReport::problems() const {
  std::vector<std::string> problems = errors;
  if (wrong > 0) {
    problems.push_back(
        format("%lld retrieved chunks are not what they must be", static_cast<long long>(wrong)));
  }
  if (stats.pool_peak_bytes > stats.pool_bytes) {
    problems.push_back("the memory of chunks passed its bound");
  }
  for (const SinkReport& sink : stats.sinks) {
    if (sink.usage.capacity_bytes > 0 && sink.usage.bytes > sink.usage.capacity_bytes) {
      problems.push_back("sink " + sink.name + " passed its bound");
    }
  }
  if (!is_complete) problems.emplace_back("interrupted");
  return problems;
}

nlohmann::json report_json(const ReplayPlan& plan, const ReplayReport& report) {
  nlohmann::json sinks = nlohmann::json::array();
  for (size_t i = 0; i < report.stats.sinks.size(); ++i) sinks.push_back(sink_json(report, i));
  return {
      {"version", KVFERRY_VERSION_STRING},
      {"cpu", cpu_name()},
      {"workload", plan.workload_name},
      {"model", plan.model.name},
      {"max_tokens", plan.max_tokens},
      {"clients", plan.clients},
      {"speed", plan.speed > 0 ? nlohmann::json(plan.speed) : nlohmann::json()},
      {"seed", plan.seed},
      {"requests", report.requests},
      {"chunks", report.chunks},
      {"chunk_bytes", report.chunk_bytes},
      {"chunks_retrieved", report.retrieved},
      {"chunks_verified", report.retrieved - report.wrong},
      {"chunks_wrong", report.wrong},
      {"chunks_stored", report.stored},
      {"chunks_lost", report.lost},
      {"chunks_mismatched", report.stats.mismatched_chunks},
      {"bytes_retrieved", report.retrieved * report.chunk_bytes},
      {"bytes_stored", report.stored * report.chunk_bytes},
      {"hit_rate", report.hit_rate()},
      {"hit_rate_optimum", report.optimum.hit_rate()},
      {"optimum_capacity_chunks",
       report.optimum_capacity > 0 ? nlohmann::json(report.optimum_capacity) : nlohmann::json()},
      {"sinks", sinks},
      {"lookup", latency_json(report.lookup_ms)},
      {"retrieve", latency_json(report.retrieve_ms)},
      {"store", latency_json(report.store_ms)},
      {"memory_peak_bytes", report.stats.pool_peak_bytes},
      {"memory_bound_bytes", report.stats.pool_bytes},
      {"rss_peak_bytes", report.rss_peak_bytes},
      {"retrieves_cut_short", report.cut_retrieves},
      {"stores_with_faults", report.faulty_stores},
      {"last_fault",
       report.last_fault.empty() ? nlohmann::json() : nlohmann::json(report.last_fault)},
      {"promotions", report.stats.promotions},
      {"shared_fetches", report.stats.shared_fetches},
      {"seconds", report.seconds},
      {"errors", report.problems()},
  };
}

std::string report_table(const ReplayPlan& plan, const ReplayReport& report) {
  const auto count = [](int64_t number) { return static_cast<long long>(number); };
  std::string out =
      format("kvferry replay: %lld requests of %s, model %s\n", count(report.requests),
             plan.workload_name.c_str(), std::string(plan.model.name).c_str());
  out += format(
      "  chunks       %lld asked for, %lld retrieved and verified, %lld wrong, %lld stored, "
      "%lld lost\n",
      count(report.chunks), count(report.retrieved - report.wrong), count(report.wrong),
      count(report.stored), count(report.lost));
  out += format("  hit rate     %.3f; ", report.hit_rate()) + optimum_text(report) + "\n";
  for (size_t i = 0; i < report.stats.sinks.size(); ++i) {
    const SinkReport& sink = report.stats.sinks[i];
    const std::string held =
        bytes_text(static_cast<double>(sink.usage.bytes)) +
        (sink.usage.capacity_bytes > 0
             ? " of " + bytes_text(static_cast<double>(sink.usage.capacity_bytes))
             : std::string());
    out += format("  %-12s hit rate %.3f, %lld chunks; put %lld; evicted %lld; holds %s; %s\n",
                  sink.name.c_str(), share(report.by_sink[i], report.chunks),
                  count(report.by_sink[i]), count(static_cast<int64_t>(sink.puts)),
                  count(static_cast<int64_t>(sink.usage.evicted_entries)), held.c_str(),
                  faults_text(sink).c_str());
  }
  out += latency_line("lookup", report.lookup_ms);
  out += latency_line("retrieve", report.retrieve_ms);
  out += latency_line("store", report.store_ms);
  out += format("  memory       %s of chunks at most, bound %s; process %s\n",
                bytes_text(static_cast<double>(report.stats.pool_peak_bytes)).c_str(),
                bytes_text(static_cast<double>(report.stats.pool_bytes)).c_str(),
                bytes_text(static_cast<double>(report.rss_peak_bytes)).c_str());
  if (report.cut_retrieves + report.faulty_stores > 0) {
    out += format("  faults       %lld retrieves cut short, %lld stores with faults; the last: ",
                  count(report.cut_retrieves), count(report.faulty_stores)) +
           report.last_fault + "\n";
  }
  out += format("  time         %.1f s\n", report.seconds);
  return out;
}

std::string progress_text(const ReplayReport& report) {
  return format("%lld chunks, hit rate %.3f, %lld verified, %lld wrong",
                static_cast<long long>(report.chunks), report.hit_rate(),
                static_cast<long long>(report.retrieved - report.wrong),
                static_cast<long long>(report.wrong));
}

}  // namespace kvferry
