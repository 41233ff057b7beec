#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kvferry/cache_config.h"
#include "kvferry/status.h"
#include "workload/engine/model_shape.h"
#include "workload/traffic/trace.h"

namespace kvferry {

/// As typed; nothing where a flag was not given.
struct ReplayFlags {
  std::optional<std::string> trace;
  std::optional<std::string> config;
  std::optional<std::string> model;
  std::optional<std::string> requests;
  std::optional<std::string> max_tokens;
  std::optional<std::string> clients;
  std::optional<std::string> speed;
  std::optional<std::string> seed;
  std::optional<std::string> json;
  std::optional<std::string> log;
  std::vector<std::string> settings;  ///< --set KEY=VALUE
  bool capacity_curve = false;
};

/// What a replay does, checked.
struct ReplayPlan {
  std::string workload_name;
  std::vector<TraceRequest> requests;
  ModelShape model;
  CacheConfig config;
  std::vector<std::string> notices;  ///< of the configuration
  int64_t max_tokens = kMaxTraceTokens;
  int64_t clients = 2;  ///< requests at the same time
  double speed = 0;     ///< times the trace's own pace; 0: as fast as they are served
  uint64_t seed = 1;
  int64_t longest_prompt = 0;  ///< tokens, after the cut
};

/// Errors: kInvalidArgument and what reading trace and configuration says, naming flag, or file and
///   line; several mistakes of a configuration are a line each.
Result<ReplayPlan> plan_replay(const ReplayFlags& flags);

}  // namespace kvferry
