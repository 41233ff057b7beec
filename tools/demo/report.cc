#include "tools/demo/report.h"

#include "kvferry/version.h"
#include "tools/report_text.h"

namespace kvferry {
namespace {

std::string stage_line(const char* name, const StageRate& rate, const char* ceiling) {
  if (!rate.gbps) return format("  %-12s not measured\n", name);
  if (rate.ceiling_gbps.value_or(0) <= 0) {
    return format("  %-12s %6.2f GB/s   ceiling not measured\n", name, *rate.gbps);
  }
  return format("  %-12s %6.2f GB/s   %4.2f of %5.2f  (%s)\n", name, *rate.gbps,
                *rate.gbps / *rate.ceiling_gbps, *rate.ceiling_gbps, ceiling);
}

template <typename T>
nlohmann::json or_null(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

/// Flags that mean nothing as 0.
nlohmann::json or_null(int64_t value) {
  return value > 0 ? nlohmann::json(value) : nlohmann::json();
}

}  // namespace

double DemoReport::request_percentile_ms(double percentile) const {
  return percentile_of(request_ms, percentile);
}

std::vector<std::string> DemoReport::problems() const {
  std::vector<std::string> problems = errors;
  const auto all = static_cast<long long>(chunks);
  if (chunks != chunks_moved + chunks_reused) {
    problems.push_back(format("%lld of %lld chunks were neither moved nor reused",
                              all - static_cast<long long>(chunks_moved + chunks_reused), all));
  }
  if (chunks != chunks_verified) {
    problems.push_back(format("%lld of %lld chunks were not verified",
                              all - static_cast<long long>(chunks_verified), all));
  }
  if (!corrupted_keys_found || chunks_mismatched != chunks_corrupted) {
    problems.push_back(format("%lld chunks were corrupted on purpose, %lld found corrupt%s",
                              static_cast<long long>(chunks_corrupted),
                              static_cast<long long>(chunks_mismatched),
                              corrupted_keys_found ? "" : ", not the same ones"));
  }
  if (leases_leaked != 0) {
    problems.push_back(format("%lld leases of staging and landing memory were not given back",
                              static_cast<long long>(leases_leaked)));
  }
  return problems;
}

nlohmann::json report_json(const DemoPlan& plan, const DemoReport& report) {
  const std::vector<std::string> problems = report.problems();
  return {
      {"version", KVFERRY_VERSION_STRING},
      {"cpu", cpu_name()},
      {"model", plan.model.name},
      {"workload", plan.workload_name},
      {"path", report.path},
      {"prefill_device", device_name(plan.prefill_device)},
      {"decode_device", device_name(plan.decode_device)},
      {"memory_bound_bytes", plan.memory_bytes},
      {"seed", plan.seed},
      {"max_tokens", or_null(plan.max_tokens)},
      {"corrupt_one_in", or_null(plan.corrupt_one_in)},
      {"ceilings_measured", !plan.skip_ceilings},
      {"verified", problems.empty()},
      {"requests", report.requests},
      {"requests_cut", report.requests_cut},
      {"tokens", report.tokens},
      {"prefix_hit_rate", report.tokens == 0 ? 0.0
                                             : static_cast<double>(report.tokens_held) /
                                                   static_cast<double>(report.tokens)},
      {"chunks", report.chunks},
      {"chunks_moved", report.chunks_moved},
      {"chunks_moved_again", report.chunks_moved_again},
      {"chunks_reused", report.chunks_reused},
      {"chunks_evicted", report.chunks_evicted},
      {"bytes_moved", report.bytes_moved},
      {"transfer_seconds", report.transfer_seconds},
      {"chunks_verified", report.chunks_verified},
      {"chunks_corrupted", report.chunks_corrupted},
      {"chunks_mismatched", report.chunks_mismatched},
      {"chunks_refetched", report.chunks_refetched},
      {"reconnects", report.reconnects},
      {"leases_leaked", report.leases_leaked},
      {"quarantined_bytes", report.quarantined_bytes},
      {"gather_gbps", or_null(report.gather.gbps)},
      {"gather_ceiling_gbps", or_null(report.gather.ceiling_gbps)},
      {"scatter_gbps", or_null(report.scatter.gbps)},
      {"scatter_ceiling_gbps", or_null(report.scatter.ceiling_gbps)},
      {"copy_ceiling_gbps",
       or_null(std::max(report.gather.ceiling_gbps, report.scatter.ceiling_gbps))},
      {"wire_gbps", or_null(report.wire.gbps)},
      {"wire_ceiling_gbps", or_null(report.wire.ceiling_gbps)},
      {"end_to_end_gbps", or_null(report.pipeline.gbps)},
      {"pipeline_ceiling_gbps", or_null(report.pipeline.ceiling_gbps)},
      {"p50_ms", report.request_percentile_ms(50)},
      {"p99_ms", report.request_percentile_ms(99)},
      {"rss_peak_bytes",
       {{"prefill", report.prefill_rss_peak_bytes}, {"decode", report.decode_rss_peak_bytes}}},
      {"errors", problems},
  };
}

std::string progress_text(const DemoReport& report) {
  return format("%lld chunks moved, %lld reused, %lld verified, %.2f GB/s",
                static_cast<long long>(report.chunks_moved),
                static_cast<long long>(report.chunks_reused),
                static_cast<long long>(report.chunks_verified),
                report.transfer_seconds > 0
                    ? static_cast<double>(report.bytes_moved) / 1e9 / report.transfer_seconds
                    : 0.0);
}

std::string report_table(const DemoPlan& plan, const DemoReport& report) {
  const double hit_rate = report.tokens == 0 ? 0
                                             : 100.0 * static_cast<double>(report.tokens_held) /
                                                   static_cast<double>(report.tokens);
  std::string out = "\n";
  out += format("  model        %s, %s, over %s\n", std::string(plan.model.name).c_str(),
                plan.workload_name.c_str(), report.path.c_str());
  out +=
      format("  requests     %lld, %lld cut to fit; %lld tokens, %.1f%% of them held already\n",
             static_cast<long long>(report.requests), static_cast<long long>(report.requests_cut),
             static_cast<long long>(report.tokens), hit_rate);
  out += format(
      "  chunks       %lld moved (%lld of them again after eviction), %lld reused, "
      "%lld evicted\n",
      static_cast<long long>(report.chunks_moved),
      static_cast<long long>(report.chunks_moved_again),
      static_cast<long long>(report.chunks_reused), static_cast<long long>(report.chunks_evicted));
  out +=
      format("  verified     %lld of %lld chunks byte for byte\n",
             static_cast<long long>(report.chunks_verified), static_cast<long long>(report.chunks));
  if (plan.corrupt_one_in > 0) {
    out +=
        format("  faults       %lld chunks corrupted on purpose, %lld found, %lld fetched again\n",
               static_cast<long long>(report.chunks_corrupted),
               static_cast<long long>(report.chunks_mismatched),
               static_cast<long long>(report.chunks_refetched));
  }
  if (report.reconnects > 0) {
    out += format("  reconnects   %lld: the connection was lost and made again\n",
                  static_cast<long long>(report.reconnects));
  }
  out +=
      format("  moved        %s in %.2f s; a request took %.2f ms (p50), %.2f ms (p99)\n",
             bytes_text(static_cast<double>(report.bytes_moved)).c_str(), report.transfer_seconds,
             report.request_percentile_ms(50), report.request_percentile_ms(99));
  out += format("  memory       prefill %s, decode %s at most; bound %s each\n",
                bytes_text(static_cast<double>(report.prefill_rss_peak_bytes)).c_str(),
                bytes_text(static_cast<double>(report.decode_rss_peak_bytes)).c_str(),
                bytes_text(static_cast<double>(plan.memory_bytes)).c_str());
  if (report.leases_leaked != 0 || report.quarantined_bytes != 0) {
    out += format("  leaked       %lld leases; %s in quarantine\n",
                  static_cast<long long>(report.leases_leaked),
                  bytes_text(static_cast<double>(report.quarantined_bytes)).c_str());
  }
  out += "\n  stage           ours        ratio to its ceiling\n";
  out += stage_line("gather", report.gather, "contiguous copy");
  out += stage_line("wire", report.wire, "bare UCX");
  out += stage_line("scatter", report.scatter, "contiguous copy");
  out += stage_line("end to end", report.pipeline, "bare gather, pull and scatter");
  for (const std::string& problem : report.problems()) out += "  error: " + problem + "\n";
  return out;
}

}  // namespace kvferry
