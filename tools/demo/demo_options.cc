#include "tools/demo/demo_options.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <utility>

#include "core/printable.h"
#include "cuda/device_query.h"
#include "kvferry/chunk_layout.h"
#include "kvferry/make_transport.h"
#include "tools/demo/net_namespace.h"
#include "tools/flag_values.h"
#include "workload/engine/paged_kv_cache.h"
#include "workload/traffic/multi_turn.h"

namespace kvferry {
namespace {

// What a worker needs beside its paged cache and pools: code, stacks, UCX, measuring buffers.
constexpr int64_t kOverheadBytes = int64_t{160} << 20;
// The stages of the last transfers, and the text that is made of them.
constexpr int64_t kTraceBytes = int64_t{64} << 20;
// In-flight bytes: enough to keep the link busy, few enough to stay in cache. Chunks of big models
// are bounded by their number.
constexpr int64_t kPoolTargetBytes = int64_t{9} << 20;
constexpr int64_t kMinPoolChunks = 2;
constexpr int64_t kMaxPoolChunks = 8;
constexpr int64_t kMaxRequests = 1'000'000;
// Fewer than one in so many is none in any run.
constexpr int64_t kMaxOneIn = 1'000'000'000;
// A cache that cannot hold a few chunks shows nothing.
constexpr int64_t kMinCacheChunks = 8;
constexpr int64_t kDefaultRequests = 60;
constexpr size_t kMaxEchoed = 64;
constexpr const char* kDefaultHost = "127.0.0.1";

Status bad_flag(const std::string& flag, const std::string& what) {
  return Status(StatusCode::kInvalidArgument, flag + ": " + what);
}

std::string mebibytes(int64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + "MiB";
}

Result<PeerClass> parse_path(const std::string& text) {
  if (text == "auto") return PeerClass::kSameProcess;
  if (text == "pull") return PeerClass::kSameHostPull;
  if (text == "shm") return PeerClass::kSameHostShm;
  if (text == "tcp") return PeerClass::kNetwork;
  return tl::unexpected(bad_flag(
      "--path", "'" + detail::printable(text, kMaxEchoed) + "' is none of auto, pull, shm, tcp"));
}

/// The namespace of a worker, which can be entered; ours where none is given.
Result<NetNamespace> check_namespace(const char* flag, const std::optional<std::string>& file,
                                     std::string& planned) {
  if (!file) return NetNamespace::own();
  auto found = NetNamespace::open(*file);
  const Status entered = found ? found->run_inside([] {}) : found.error();
  if (!entered.is_ok()) return tl::unexpected(entered.with_context(flag));
  planned = *file;
  return found;
}

Status plan_network(const DemoFlags& flags, DemoPlan& plan) {
  KVFERRY_ASSIGN_OR_RETURN(plan.best_path, parse_path(flags.path.value_or("auto")));
  plan.host = flags.host.value_or(kDefaultHost);
  in_addr address{};
  if (::inet_pton(AF_INET, plan.host.c_str(), &address) != 1) {
    return bad_flag("--host",
                    "'" + detail::printable(plan.host, kMaxEchoed) + "' is no IPv4 address");
  }
  if (!flags.prefill_netns && !flags.decode_netns) return {};
  KVFERRY_ASSIGN_OR_RETURN(
      const NetNamespace prefill,
      check_namespace("--prefill-netns", flags.prefill_netns, plan.prefill_netns));
  KVFERRY_ASSIGN_OR_RETURN(
      const NetNamespace decode,
      check_namespace("--decode-netns", flags.decode_netns, plan.decode_netns));
  if (prefill == decode) return {};
  if (flags.path && *flags.path != "auto" && plan.best_path != PeerClass::kNetwork) {
    return bad_flag("--path", "'" + *flags.path +
                                  "' goes round the network between two network namespaces; give "
                                  "tcp, or leave it out");
  }
  if (!flags.host) {
    return bad_flag("--host",
                    "give prefill's address in its network namespace; decode is in another one");
  }
  plan.best_path = PeerClass::kNetwork;
  return {};
}

/// The device of one worker; the host where none is given.
Status plan_device(const char* flag, const std::optional<std::string>& name, Device& planned) {
  if (!name) return {};
  const auto device = parse_device(*name);
  if (!device) return bad_flag(flag, std::string(device.error().message()));
  planned = *device;
  if (planned.is_host()) return {};
  const auto devices = query_cuda_devices();
  if (!devices) return devices.error().with_context(std::string(flag) + " " + *name);
  if (std::cmp_less(planned.index, devices->size())) return {};
  return {StatusCode::kNotFound, std::string(flag) + ": there is no " + *name +
                                     "; this machine has " + std::to_string(devices->size()) +
                                     " CUDA devices"};
}

Status plan_devices(const DemoFlags& flags, DemoPlan& plan) {
  KVFERRY_RETURN_IF_ERROR(
      plan_device("--prefill-device", flags.prefill_device, plan.prefill_device));
  KVFERRY_RETURN_IF_ERROR(plan_device("--decode-device", flags.decode_device, plan.decode_device));
  // The meters walk through host memory: beside copies on a GPU they would say nothing.
  if (!plan.prefill_device.is_host() || !plan.decode_device.is_host()) plan.skip_ceilings = true;
  return {};
}

Status check_transport(const DemoPlan& plan) {
  KVFERRY_ASSIGN_OR_RETURN(const std::shared_ptr<Transport> transport, make_transport("ucx"));
  if (plan.corrupt_one_in > 0 && !plan.prefill_device.is_host() &&
      transport->moves_device_memory()) {
    return bad_flag(
        "--corrupt-one-in",
        "this UCX moves device memory, whose bytes the host cannot change; leave it out");
  }
  if (plan.best_path == PeerClass::kSameProcess) return {};
  return transport->is_available(plan.best_path);
}

/// What the meters walk through: more than the last-level cache holds, where the memory allows, and
/// no more than a fifth of what else a process needs.
int64_t scratch_bytes_for(int64_t other_bytes, int64_t least_bytes) {
  const int64_t cache = std::max(int64_t{::sysconf(_SC_LEVEL3_CACHE_SIZE)}, int64_t{32} << 20);
  return std::max(std::min(cache + cache / 4, other_bytes / 5), least_bytes);
}

/// Sets the bound of each worker; returns what to call it in messages.
Result<std::string> bound_memory(const DemoFlags& flags, std::optional<int64_t> available_bytes,
                                 DemoPlan& plan) {
  if (!flags.memory) {
    if (!available_bytes) {
      return make_error(
          bad_flag("--memory", "give it: this system does not say how much is available"));
    }
    plan.memory_bytes = *available_bytes / 4;
    return "a quarter of what is available, " + mebibytes(plan.memory_bytes) + ",";
  }
  auto bytes = parse_bytes(*flags.memory);
  if (!bytes) return make_error(bytes.error().with_context("--memory"));
  plan.memory_bytes = *bytes;
  const bool has_unit = std::isdigit(static_cast<unsigned char>(flags.memory->back())) == 0;
  return *flags.memory + (has_unit ? "" : " B");
}

Status plan_memory(const DemoFlags& flags, std::optional<int64_t> available_bytes, DemoPlan& plan) {
  KVFERRY_ASSIGN_OR_RETURN(const std::string given, bound_memory(flags, available_bytes, plan));
  plan.chunk_bytes = kDefaultChunkTokens * plan.model.token_bytes();
  plan.pool_chunks =
      std::clamp(kPoolTargetBytes / plan.chunk_bytes, kMinPoolChunks, kMaxPoolChunks);
  const int64_t block_bytes = plan.model.token_bytes() * plan.model.block_tokens;
  // Pools of the transfer engine, and the rings of the meters: at most three at a time.
  const int64_t pool_bytes = (3 * plan.pool_chunks + 1) * plan.chunk_bytes;
  const int64_t least_cache_bytes = kMinCacheChunks * plan.chunk_bytes;
  const int64_t fixed_bytes = kOverheadBytes + pool_bytes + (plan.keeps_trace ? kTraceBytes : 0);
  const int64_t least_scratch_bytes =
      scratch_bytes_for(fixed_bytes + least_cache_bytes, least_cache_bytes);
  const int64_t least_bytes = fixed_bytes + least_cache_bytes + least_scratch_bytes;
  if (plan.memory_bytes < least_bytes) {
    return bad_flag("--memory", given + " for a process is too small for " +
                                    std::string(plan.model.name) + "; give at least " +
                                    mebibytes(least_bytes));
  }
  if (available_bytes && plan.memory_bytes > *available_bytes / 2) {
    return Status(StatusCode::kResourceExhausted,
                  "--memory: " + given + " for each of two processes is more than the " +
                      std::to_string(*available_bytes >> 20) + "MiB available here; give at most " +
                      std::to_string(*available_bytes >> 21) + "MiB");
  }
  const int64_t scratch_bytes = scratch_bytes_for(plan.memory_bytes * 5 / 6, least_scratch_bytes);
  plan.scratch_blocks = scratch_bytes / block_bytes;
  const int64_t cache_bytes = plan.memory_bytes - fixed_bytes - scratch_bytes;
  plan.num_blocks = cache_bytes / block_bytes;
  return {};
}

Status plan_requests(const DemoFlags& flags, DemoPlan& plan) {
  int64_t requests = 0;
  KVFERRY_RETURN_IF_ERROR(read_number("--requests", flags.requests, 1, kMaxRequests, requests));
  if (!flags.trace) {
    MultiTurnOptions options;
    options.requests = flags.requests ? requests : kDefaultRequests;
    options.seed = plan.seed;
    plan.workload_name = "built-in multi-turn";
    KVFERRY_ASSIGN_OR_RETURN(plan.requests, make_multi_turn_workload(options));
    return {};
  }
  if (flags.trace->empty()) return bad_flag("--trace", "needs the name of a file");
  TraceLimits limits;
  if (flags.requests) limits.max_requests = requests;
  plan.workload_name = *flags.trace;
  KVFERRY_ASSIGN_OR_RETURN(plan.requests, read_trace(*flags.trace, limits));
  return {};
}

}  // namespace

Result<DemoPlan> plan_demo(const DemoFlags& flags, std::optional<int64_t> available_bytes) {
  DemoPlan plan;
  KVFERRY_RETURN_IF_ERROR(
      read_number("--max-tokens", flags.max_tokens, 1, kMaxTraceTokens, plan.max_tokens));
  KVFERRY_RETURN_IF_ERROR(
      read_number("--corrupt-one-in", flags.corrupt_one_in, 2, kMaxOneIn, plan.corrupt_one_in));
  KVFERRY_RETURN_IF_ERROR(
      read_number("--seed", flags.seed, 0, std::numeric_limits<uint64_t>::max(), plan.seed));
  plan.model = list_models().front();
  if (flags.model) {
    KVFERRY_ASSIGN_OR_RETURN(plan.model, find_model(*flags.model));
  }
  KVFERRY_RETURN_IF_ERROR(plan_network(flags, plan));
  plan.skip_ceilings = flags.skip_ceilings;
  KVFERRY_RETURN_IF_ERROR(plan_devices(flags, plan));
  KVFERRY_RETURN_IF_ERROR(check_transport(plan));
  plan.verbose = flags.verbose;
  plan.keeps_trace = flags.trace_out.has_value();
  KVFERRY_RETURN_IF_ERROR(plan_memory(flags, available_bytes, plan));
  KVFERRY_RETURN_IF_ERROR(plan_requests(flags, plan));
  return plan;
}

}  // namespace kvferry
