#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kvferry/cache_engine.h"
#include "tools/replay/replay_options.h"
#include "workload/traffic/cache_model.h"

namespace kvferry {

/// What one request asked for and got.
struct RequestOutcome {
  int64_t chunks = 0;            ///< of its prompt, as the configuration cuts it
  int64_t retrieved = 0;         ///< of these, were put into pages, verified by the engine
  int64_t wrong = 0;             ///< of these, are not what the oracle says: must never be
  std::vector<int64_t> by_sink;  ///< retrieved chunks
  int64_t stored = 0;
  int64_t lost = 0;  ///< could be stored nowhere
  double lookup_ms = 0;
  double retrieve_ms = 0;
  double store_ms = 0;
  std::string retrieve_fault;  ///< why it ended early, if not for a plain miss
  std::string store_fault;
  std::string error;  ///< of the replay itself
};

/// What a replay came to.
struct ReplayReport {
  int64_t requests = 0;
  int64_t chunks = 0;
  int64_t retrieved = 0;
  int64_t wrong = 0;
  int64_t stored = 0;
  int64_t lost = 0;
  std::vector<int64_t> by_sink;
  std::vector<double> lookup_ms;
  std::vector<double> retrieve_ms;
  std::vector<double> store_ms;
  double seconds = 0;
  int64_t chunk_bytes = 0;
  int64_t rss_peak_bytes = 0;
  CacheStats stats;
  ChunkAccesses accesses;       ///< in the order in which requests began
  CacheModelResult optimum;     ///< of a cache of optimum_capacity
  size_t optimum_capacity = 0;  ///< chunks, of all sinks; 0: without bound, as some sink has none
  int64_t cut_retrieves = 0;    ///< ended early, by a deadline or a fault
  int64_t faulty_stores = 0;    ///< had a fault in at least one sink
  std::string last_fault;       ///< of either
  std::vector<std::string> errors;
  bool is_complete = false;  ///< false: interrupted

  void add(const RequestOutcome& outcome);
  double hit_rate() const;
  /// Why the run was not as it must be, a line each; empty if it was.
  std::vector<std::string> problems() const;
};

nlohmann::json report_json(const ReplayPlan& plan, const ReplayReport& report);
std::string report_table(const ReplayPlan& plan, const ReplayReport& report);
std::string progress_text(const ReplayReport& report);

}  // namespace kvferry
