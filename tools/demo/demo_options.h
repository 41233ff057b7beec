#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kvferry/device.h"
#include "kvferry/status.h"
#include "kvferry/transport.h"
#include "workload/engine/model_shape.h"
#include "workload/traffic/trace.h"

namespace kvferry {

/// What `kvferry demo` was asked to do, as it was typed; empty what was not given.
struct DemoFlags {
  std::optional<std::string> trace;  ///< else the built-in multi-turn workload
  std::optional<std::string> model;
  std::optional<std::string> memory;          ///< "6GiB"; else a quarter of what is available
  std::optional<std::string> path;            ///< auto, pull, shm, tcp
  std::optional<std::string> host;            ///< where prefill listens; else 127.0.0.1
  std::optional<std::string> prefill_device;  ///< host, cuda:0; else host
  std::optional<std::string> decode_device;
  std::optional<std::string> prefill_netns;
  std::optional<std::string> decode_netns;
  std::optional<std::string> requests;  ///< else all of the trace, or 60 of the built-in workload
  std::optional<std::string> max_tokens;
  std::optional<std::string> corrupt_one_in;
  std::optional<std::string> seed;
  std::optional<std::string> json;
  std::optional<std::string> trace_out;
  bool skip_ceilings = false;  ///< only the replay; rates of stages are not measured
  bool verbose = false;
};

/// The same, checked: what both workers and the report are told.
struct DemoPlan {
  ModelShape model;
  PeerClass best_path = PeerClass::kSameProcess;
  Device prefill_device = {};
  Device decode_device = {};
  std::string host;           ///< an IPv4 address of prefill
  std::string prefill_netns;  ///< file of the network namespace; empty: that of the supervisor
  std::string decode_netns;
  std::vector<TraceRequest> requests;
  std::string workload_name;
  int64_t max_tokens = 0;      ///< 0: no cut
  int64_t corrupt_one_in = 0;  ///< 0: none
  uint64_t seed = 1;
  bool skip_ceilings = false;
  bool keeps_trace = false;  ///< the stages of transfers are wanted in the end
  bool verbose = false;

  int64_t memory_bytes = 0;    ///< bound of each worker
  int64_t num_blocks = 0;      ///< of each worker's paged cache
  int64_t scratch_blocks = 0;  ///< of the cache that the meters walk through
  int64_t pool_chunks = 0;     ///< chunks in flight: staged on one side, landing on the other
  int64_t chunk_bytes = 0;
};

/// Reads and checks everything before anything is started. `available_bytes` is the memory that
/// both workers must fit into, where it is known.
///
/// Errors: kInvalidArgument, kNotFound or kResourceExhausted, one line that names flag or file,
/// line
///   and cause; as read_trace().
Result<DemoPlan> plan_demo(const DemoFlags& flags, std::optional<int64_t> available_bytes);

}  // namespace kvferry
