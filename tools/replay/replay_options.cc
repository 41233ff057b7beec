#include "tools/replay/replay_options.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "core/printable.h"
#include "runtime/config/load_config.h"
#include "tools/flag_values.h"
#include "workload/traffic/multi_turn.h"

namespace kvferry {
namespace {

constexpr int64_t kMaxRequests = 10'000'000;
constexpr int64_t kMaxClients = 256;
constexpr int64_t kDefaultRequests = 60;
constexpr double kMaxSpeed = 1e6;

Status read_speed(const std::optional<std::string>& text, double& speed) {
  if (!text) return {};
  char* end = nullptr;
  speed = std::strtod(text->c_str(), &end);
  if (!text->empty() && *end == '\0' && std::isfinite(speed) && speed > 0 && speed <= kMaxSpeed) {
    return {};
  }
  return Status(StatusCode::kInvalidArgument,
                "--speed: '" + detail::printable(*text, 64) +
                    "' is no pace; give a number above 0, as 1 for the trace's own");
}

Status read_requests(const ReplayFlags& flags, ReplayPlan& plan) {
  int64_t requests = kDefaultRequests;
  KVFERRY_RETURN_IF_ERROR(read_number("--requests", flags.requests, 1, kMaxRequests, requests));
  if (!flags.trace) {
    MultiTurnOptions options;
    options.requests = requests;
    options.seed = plan.seed;
    plan.workload_name = "built-in multi-turn";
    KVFERRY_ASSIGN_OR_RETURN(plan.requests, make_multi_turn_workload(options));
  } else {
    if (flags.trace->empty()) {
      return Status(StatusCode::kInvalidArgument, "--trace: needs the name of a file");
    }
    TraceLimits limits;
    if (flags.requests) limits.max_requests = requests;
    plan.workload_name = *flags.trace;
    KVFERRY_ASSIGN_OR_RETURN(plan.requests, read_trace(*flags.trace, limits));
  }
  for (const TraceRequest& request : plan.requests) {
    plan.longest_prompt =
        std::max(plan.longest_prompt, std::min(request.input_length, plan.max_tokens));
  }
  return {};
}

Status read_config(const ReplayFlags& flags, ReplayPlan& plan) {
  if (flags.config && flags.config->empty()) {
    return Status(StatusCode::kInvalidArgument, "--config: needs the name of a file");
  }
  auto loaded = load_config({.path = flags.config.value_or(""),
                             .environment = config_environment(),
                             .flags = flags.settings});
  if (!loaded) return loaded.error().to_status();
  for (const ConfigNotice& warning : loaded->warnings) plan.notices.push_back(warning.line());
  plan.config = std::move(loaded->config);
  return {};
}

}  // namespace

Result<ReplayPlan> plan_replay(const ReplayFlags& flags) {
  ReplayPlan plan;
  KVFERRY_RETURN_IF_ERROR(
      read_number("--max-tokens", flags.max_tokens, 1, kMaxTraceTokens, plan.max_tokens));
  KVFERRY_RETURN_IF_ERROR(read_number("--clients", flags.clients, 1, kMaxClients, plan.clients));
  KVFERRY_RETURN_IF_ERROR(
      read_number("--seed", flags.seed, 0, std::numeric_limits<uint64_t>::max(), plan.seed));
  KVFERRY_RETURN_IF_ERROR(read_speed(flags.speed, plan.speed));
  plan.model = list_models().front();
  if (flags.model) {
    KVFERRY_ASSIGN_OR_RETURN(plan.model, find_model(*flags.model));
  }
  KVFERRY_RETURN_IF_ERROR(read_config(flags, plan));
  KVFERRY_RETURN_IF_ERROR(read_requests(flags, plan));
  return plan;
}

}  // namespace kvferry
