#include "tools/demo/demo_options.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "kvferry/chunk_layout.h"
#include "kvferry/make_transport.h"
#include "workload/engine/paged_kv_cache.h"
#include "workload/traffic/multi_turn.h"

namespace kvferry {
namespace {

// What a worker needs beside its paged cache and pools: code, stacks, UCX, measuring buffers.
constexpr int64_t kOverheadBytes = int64_t{160} << 20;
// In-flight bytes: enough to keep the link busy, few enough to stay in cache. Chunks of big models
// are bounded by their number.
constexpr int64_t kPoolTargetBytes = int64_t{9} << 20;
constexpr int64_t kMinPoolChunks = 2;
constexpr int64_t kMaxPoolChunks = 8;
constexpr int64_t kMaxRequests = 1'000'000;
// A cache that cannot hold a few chunks shows nothing.
constexpr int64_t kMinCacheChunks = 8;
constexpr int64_t kDefaultRequests = 60;

Status bad_flag(const std::string& flag, const std::string& what) {
  return Status(StatusCode::kInvalidArgument, flag + ": " + what);
}

Result<int64_t> available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("MemAvailable:", 0) != 0) continue;
    std::istringstream fields(line.substr(13));
    int64_t kib = 0;
    fields >> kib;
    if (kib > 0) return kib * 1024;
  }
  return make_error(StatusCode::kUnavailable,
                    "/proc/meminfo does not say how much memory is free; give --memory");
}

std::string mebibytes(int64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + "MiB";
}

Result<PeerClass> parse_path(const std::string& text) {
  if (text == "auto") return PeerClass::kSameProcess;
  if (text == "pull") return PeerClass::kSameHostPull;
  if (text == "shm") return PeerClass::kSameHostShm;
  if (text == "tcp") return PeerClass::kNetwork;
  return tl::unexpected(bad_flag("--path", "'" + text + "' is none of auto, pull, shm, tcp"));
}

Status check_transport(PeerClass best_path) {
  KVFERRY_ASSIGN_OR_RETURN(const std::shared_ptr<Transport> transport, make_transport("ucx"));
  return best_path == PeerClass::kSameProcess ? Status() : transport->is_available(best_path);
}

/// What the meters walk through: more than the last-level cache holds, where the memory allows, and
/// no more than a fifth of what else a process needs.
int64_t scratch_bytes_for(int64_t other_bytes, int64_t least_bytes) {
  const int64_t cache = std::max(int64_t{::sysconf(_SC_LEVEL3_CACHE_SIZE)}, int64_t{32} << 20);
  return std::max(std::min(cache + cache / 4, other_bytes / 5), least_bytes);
}

Status plan_memory(const DemoFlags& flags, DemoPlan& plan) {
  if (flags.memory.empty()) {
    KVFERRY_ASSIGN_OR_RETURN(const int64_t available, available_memory());
    plan.memory_bytes = available / 4;
  } else {
    auto bytes = parse_bytes(flags.memory);
    if (!bytes) return bytes.error().with_context("--memory");
    plan.memory_bytes = *bytes;
  }
  plan.chunk_bytes = kDefaultChunkTokens * plan.model.token_bytes();
  plan.pool_chunks =
      std::clamp(kPoolTargetBytes / plan.chunk_bytes, kMinPoolChunks, kMaxPoolChunks);
  const int64_t block_bytes = plan.model.token_bytes() * plan.model.block_tokens;
  // Pools of the transfer engine, and the rings of the meters: at most three at a time.
  const int64_t pool_bytes = (3 * plan.pool_chunks + 1) * plan.chunk_bytes;
  const int64_t least_cache_bytes = kMinCacheChunks * plan.chunk_bytes;
  const int64_t fixed_bytes = kOverheadBytes + pool_bytes;
  const int64_t least_scratch_bytes =
      scratch_bytes_for(fixed_bytes + least_cache_bytes, least_cache_bytes);
  const int64_t least_bytes = fixed_bytes + least_cache_bytes + least_scratch_bytes;
  if (plan.memory_bytes < least_bytes) {
    return bad_flag("--memory", mebibytes(plan.memory_bytes) + " a process is too small for " +
                                    std::string(plan.model.name) + "; give at least " +
                                    mebibytes(least_bytes));
  }
  const int64_t scratch_bytes = scratch_bytes_for(plan.memory_bytes * 5 / 6, least_scratch_bytes);
  plan.scratch_blocks = scratch_bytes / block_bytes;
  const int64_t cache_bytes = plan.memory_bytes - fixed_bytes - scratch_bytes;
  plan.num_blocks = cache_bytes / block_bytes;
  return {};
}

Status plan_requests(const DemoFlags& flags, DemoPlan& plan) {
  if (flags.trace.empty()) {
    MultiTurnOptions options;
    options.requests = flags.requests > 0 ? flags.requests : kDefaultRequests;
    options.seed = flags.seed;
    plan.workload_name = "built-in multi-turn";
    KVFERRY_ASSIGN_OR_RETURN(plan.requests, make_multi_turn_workload(options));
    return {};
  }
  TraceLimits limits;
  if (flags.requests > 0) limits.max_requests = flags.requests;
  plan.workload_name = flags.trace;
  KVFERRY_ASSIGN_OR_RETURN(plan.requests, read_trace(flags.trace, limits));
  return {};
}

Status check_numbers(const DemoFlags& flags) {
  if (flags.requests < 0 || flags.requests > kMaxRequests) {
    return bad_flag("--requests", std::to_string(flags.requests) + " is not from 1 to " +
                                      std::to_string(kMaxRequests));
  }
  if (flags.max_tokens < 0) {
    return bad_flag("--max-tokens", std::to_string(flags.max_tokens) + " is negative");
  }
  if (flags.corrupt_one_in < 0 || flags.corrupt_one_in == 1) {
    return bad_flag("--corrupt-one-in", "needs 2 or more: one of that many chunks is corrupted");
  }
  return {};
}

}  // namespace

Result<int64_t> parse_bytes(const std::string& text) {
  const auto invalid = [&] {
    return make_error(StatusCode::kInvalidArgument,
                      "'" + text + "' is no size; write 512MiB, 6GiB or a number of bytes");
  };
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || !std::isfinite(value) || value < 0) return invalid();
  std::string unit(end);
  std::transform(unit.begin(), unit.end(), unit.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  double factor = 0;
  if (unit.empty() || unit == "b") factor = 1;
  if (unit == "k" || unit == "kib") factor = 1024.0;
  if (unit == "m" || unit == "mib") factor = 1024.0 * 1024;
  if (unit == "g" || unit == "gib") factor = 1024.0 * 1024 * 1024;
  if (unit == "kb") factor = 1e3;
  if (unit == "mb") factor = 1e6;
  if (unit == "gb") factor = 1e9;
  constexpr double kMaxBytes = 1e15;
  if (factor == 0 || value * factor > kMaxBytes) return invalid();
  return static_cast<int64_t>(value * factor);
}

Result<DemoPlan> plan_demo(const DemoFlags& flags) {
  DemoPlan plan;
  KVFERRY_RETURN_IF_ERROR(check_numbers(flags));
  if (flags.model.empty()) {
    plan.model = list_models().front();
  } else {
    KVFERRY_ASSIGN_OR_RETURN(plan.model, find_model(flags.model));
  }
  KVFERRY_ASSIGN_OR_RETURN(plan.best_path, parse_path(flags.path));
  KVFERRY_RETURN_IF_ERROR(check_transport(plan.best_path));
  plan.max_tokens = flags.max_tokens;
  plan.corrupt_one_in = flags.corrupt_one_in;
  plan.seed = flags.seed;
  plan.skip_ceilings = flags.skip_ceilings;
  plan.verbose = flags.verbose;
  plan.json = flags.json;
  KVFERRY_RETURN_IF_ERROR(plan_memory(flags, plan));
  KVFERRY_RETURN_IF_ERROR(plan_requests(flags, plan));
  return plan;
}

}  // namespace kvferry
