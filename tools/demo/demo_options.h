#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kvferry/status.h"
#include "kvferry/transport.h"
#include "workload/engine/model_shape.h"
#include "workload/traffic/trace.h"

namespace kvferry {

/// What `kvferry demo` was asked to do, as it was typed.
struct DemoFlags {
  std::string trace;  ///< empty: the built-in multi-turn workload
  std::string model;
  std::string memory;  ///< "6GiB"; empty: a quarter of what is free
  std::string json;
  std::string path = "auto";  ///< pull, shm, tcp, or the best that works here
  int64_t requests = 0;       ///< 0: all of the trace, or 60 of the built-in workload
  int64_t max_tokens = 0;     ///< 0: no cut
  int64_t corrupt_one_in = 0;
  uint64_t seed = 1;
  bool skip_ceilings = false;  ///< only the replay; rates of stages are not measured
  bool verbose = false;
};

/// The same, checked: what both workers and the report are told.
struct DemoPlan {
  ModelShape model;
  PeerClass best_path = PeerClass::kSameProcess;
  std::vector<TraceRequest> requests;
  std::string workload_name;
  int64_t max_tokens = 0;
  int64_t corrupt_one_in = 0;
  uint64_t seed = 1;
  bool skip_ceilings = false;
  bool verbose = false;
  std::string json;

  int64_t memory_bytes = 0;    ///< bound of each worker
  int64_t num_blocks = 0;      ///< of each worker's paged cache
  int64_t scratch_blocks = 0;  ///< of the cache that the meters walk through
  int64_t pool_chunks = 0;     ///< chunks in flight: staged on one side, landing on the other
  int64_t chunk_bytes = 0;
};

/// "512MiB", "6g", "1.5GB", or plain bytes.
/// Errors: kInvalidArgument naming the text and the units.
Result<int64_t> parse_bytes(const std::string& text);

/// Reads and checks everything before anything is started.
/// Errors: kInvalidArgument or kNotFound, one line that names flag or file, line and cause.
Result<DemoPlan> plan_demo(const DemoFlags& flags);

}  // namespace kvferry
