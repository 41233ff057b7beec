// Names of sinks become objects here, in the order of the tiers.

#include <algorithm>
#include <fstream>
#include <utility>

#include "backends/external/factory.h"
#include "backends/local_cpu/factory.h"
#include "backends/local_disk/factory.h"
#include "backends/peer/factory.h"
#include "backends/remote/factory.h"
#include "kvferry/make_transport.h"
#include "runtime/cache/cache_parts.h"
#include "runtime/cache/memory_store.h"
#include "runtime/detached_thread.h"
#include "runtime/plugin_folder.h"

namespace kvferry {
namespace {

size_t round_up_to_page(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

Status make_threads(const CacheConfig& config, CacheParts& parts) {
  KVFERRY_ASSIGN_OR_RETURN(
      parts.copiers, ThreadWorkPool::create("kv-copy", static_cast<size_t>(config.copy_threads)));
  KVFERRY_ASSIGN_OR_RETURN(parts.control, ThreadExecutor::create("kv-cache", parts.clock));
  return {};
}

Status make_pool(const CacheConfig& config, size_t chunk_bytes, CacheParts& parts) {
  const size_t slots = config.local_cpu.pool_bytes / round_up_to_page(chunk_bytes);
  if (slots < 2) {
    return Status(StatusCode::kInvalidArgument,
                  "max_local_cpu_size is " + std::to_string(config.local_cpu.pool_bytes) +
                      " bytes, in which two chunks of " + std::to_string(chunk_bytes) +
                      " bytes have no room; raise it, or lower chunk_size");
  }
  KVFERRY_ASSIGN_OR_RETURN(parts.pool,
                           MemoryPool::create({.slot_bytes = chunk_bytes, .num_slots = slots}));
  return {};
}

/// The context of a sink: it has threads of its own.
Result<BackendContext> make_context(std::string name, const CacheConfig& config, int64_t io_threads,
                                    CacheParts& parts) {
  BackendContext context;
  KVFERRY_ASSIGN_OR_RETURN(auto io,
                           ThreadWorkPool::create("kv-io", static_cast<size_t>(io_threads)));
  parts.io.push_back(std::move(io));
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<ThreadExecutor> executor,
                           ThreadExecutor::create("kv-" + name, parts.clock));
  context.name = std::move(name);
  context.executor = executor.get();
  context.work_pool = parts.io.back().get();
  context.allocator = parts.pool.get();
  context.logger = &parts.logger;
  context.blocking_timeout = config.retrieve_timeout;
  parts.sink_executors.push_back(std::move(executor));
  parts.counters.push_back(std::make_unique<BackendCounters>());
  context.metrics = parts.counters.back().get();
  return context;
}

/// What make_context() made last belongs to it.
void add_tier(std::unique_ptr<StorageBackend> backend, CacheParts& parts) {
  parts.tiers.push_back({std::move(backend), parts.counters.back().get()});
}

Status add_local_cpu(const CacheConfig& config, const TokenChunks& space, CacheParts& parts) {
  if (!config.local_cpu.is_tier) return {};
  LocalCpuOptions options;
  options.policy = config.policy;
  options.max_bytes = parts.pool->bytes();
  options.typical_chunk_bytes = space.chunk_bytes();
  KVFERRY_ASSIGN_OR_RETURN(BackendContext context, make_context("local_cpu", config, 1, parts));
  KVFERRY_ASSIGN_OR_RETURN(auto backend, make_local_cpu_backend(std::move(context), options));
  parts.shared_memory = std::make_unique<MemoryStore>(
      *backend, *parts.pool, [space](const CacheEngineKey& key, const MemoryObj& obj) {
        return space.check_layout_if_ours(key, obj);
      });
  add_tier(std::move(backend), parts);
  return {};
}

/// The first line of a file.
Result<std::string> read_secret(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!file || !std::getline(file, line) || line.empty()) {
    return make_error(StatusCode::kInvalidArgument,
                      "'" + path + "' cannot be read, or its first line is empty");
  }
  return line;
}

/// The engine that moves chunks to and from peers: they lie in the pool, its own slots are credits.
Status make_peer_engine(const CacheConfig& config, size_t chunk_bytes,
                        std::shared_ptr<Transport> transport, CacheParts& parts) {
  constexpr size_t kMostChunks = 64;
  // What peers push waits in the pool until it is verified; most of that is for our own reads.
  const size_t of_the_pool = std::max<size_t>(parts.pool->usage().num_slots / 4, 1);
  TransferEngineOptions options;
  options.name = config.peer.name;
  auto token = read_secret(config.peer.token_file);
  if (!token) return token.error().with_context("peer_token_file");
  options.token = *std::move(token);
  options.chunk_bytes = 1;
  options.staging_chunks = std::clamp<size_t>(config.sinks.max_in_flight_bytes / chunk_bytes, 1,
                                              std::min(of_the_pool, kMostChunks));
  options.landing_chunks = options.staging_chunks;
  options.logger = &parts.logger;
  options.transport = std::move(transport);
  if (options.transport == nullptr) {
    KVFERRY_ASSIGN_OR_RETURN(options.transport, make_transport(config.peer.transport));
  }
  KVFERRY_ASSIGN_OR_RETURN(parts.peers, TransferEngine::create(std::move(options)));
  if (config.peer.host.empty()) return {};
  if (parts.shared_memory) parts.peers->share(parts.shared_memory.get());
  auto port = parts.peers->listen(config.peer.host, config.peer.port);
  if (!port) return port.error().with_context("peer_listen");
  parts.peer_port = *port;
  parts.logger.log(LogLevel::kInfo,
                   "peers_welcome host=" + config.peer.host + " port=" + std::to_string(*port));
  return {};
}

Status add_peers(const CacheConfig& config, size_t chunk_bytes,
                 std::shared_ptr<Transport> transport, CacheParts& parts) {
  if (config.peer.peers.empty() && config.peer.host.empty()) return {};
  KVFERRY_RETURN_IF_ERROR(make_peer_engine(config, chunk_bytes, std::move(transport), parts));
  if (config.peer.peers.empty()) return {};
  constexpr size_t kMostThreads = 8;  // each is blocked while it connects
  PeerOptions options;
  options.peers = config.peer.peers;
  options.push_to = config.peer.push_to;
  options.timeout = config.peer.timeout;
  const size_t threads = std::min(options.peers.size(), kMostThreads);
  KVFERRY_ASSIGN_OR_RETURN(BackendContext context,
                           make_context("peer", config, static_cast<int64_t>(threads), parts));
  KVFERRY_ASSIGN_OR_RETURN(auto backend,
                           make_peer_backend(std::move(context), parts.peers->exchange(), options));
  add_tier(std::move(backend), parts);
  return {};
}

Status add_local_disk(const CacheConfig& config, size_t chunk_bytes, CacheParts& parts) {
  if (config.local_disk.path.empty()) return {};
  LocalDiskOptions options;
  options.path = config.local_disk.path;
  options.max_bytes = config.local_disk.max_bytes;
  options.policy = config.policy;
  options.durability = config.local_disk.durability;
  options.io = config.local_disk.io;
  options.queue_depth = static_cast<size_t>(config.local_disk.queue_depth);
  options.typical_chunk_bytes = chunk_bytes;
  KVFERRY_ASSIGN_OR_RETURN(const BackendContext context,
                           make_context("local_disk", config, config.io_threads, parts));
  auto backend = make_local_disk_backend(context, options);
  if (!backend) return backend.error().with_context("local_disk");
  add_tier(*std::move(backend), parts);
  return {};
}

Status add_remote(const CacheConfig& config, CacheParts& parts) {
  if (config.remote.kind == RemoteKind::kNone) return {};
  RemoteOptions options;
  options.store = config.remote;
  options.breaker_failures = static_cast<int>(config.sinks.breaker_failures);
  options.breaker_cooldown = config.sinks.breaker_cooldown;
  if (!config.remote.password_file.empty()) {
    auto password = read_secret(config.remote.password_file);
    if (!password) return password.error().with_context("remote_password_file");
    options.store.password = *std::move(password);
  }
  KVFERRY_ASSIGN_OR_RETURN(BackendContext context,
                           make_context("remote", config, config.io_threads, parts));
  auto backend = make_remote_backend(std::move(context), options);
  if (!backend) return backend.error().with_context("remote_url");
  add_tier(*std::move(backend), parts);
  return {};
}

/// What cannot be loaded is left out with a warning, unless it is required.
Status add_external(const ExternalBackendConfig& external, const CacheConfig& config,
                    CacheParts& parts) {
  ExternalOptions options;
  options.module_path = external.module_path;
  options.class_name = external.class_name;
  options.search_path = plugin_search_path(config.plugins);
  options.settings = external.settings;
  options.limits.timeout = config.plugins.call_timeout;
  options.limits.close_timeout = config.plugins.call_timeout;
  options.limits.max_in_flight_items = static_cast<size_t>(config.plugins.max_in_flight);
  options.limits.max_in_flight_bytes = config.sinks.max_in_flight_bytes;
  options.limits.breaker_failures = static_cast<uint32_t>(config.sinks.breaker_failures);
  options.limits.breaker_cooldown = config.sinks.breaker_cooldown;
  KVFERRY_ASSIGN_OR_RETURN(BackendContext context, make_context(external.name, config, 1, parts));
  context.start_thread = start_detached_thread;
  auto backend = make_external_backend(std::move(context), options);
  if (backend) {
    add_tier(*std::move(backend), parts);
    return {};
  }
  if (external.is_required) return std::move(backend).error();
  parts.logger.log(LogLevel::kWarn, "external_backend_left_out backend=" + external.name +
                                        " error=\"" + backend.error().to_string() + "\"");
  return {};
}

Status make_parts(const CacheConfig& config, const TokenChunks& space,
                  std::shared_ptr<Transport> transport, CacheParts& parts) {
  const size_t chunk_bytes = space.chunk_bytes();
  KVFERRY_RETURN_IF_ERROR(make_pool(config, chunk_bytes, parts));
  KVFERRY_RETURN_IF_ERROR(make_threads(config, parts));
  KVFERRY_RETURN_IF_ERROR(add_local_cpu(config, space, parts));
  KVFERRY_RETURN_IF_ERROR(add_peers(config, chunk_bytes, std::move(transport), parts));
  KVFERRY_RETURN_IF_ERROR(add_local_disk(config, chunk_bytes, parts));
  KVFERRY_RETURN_IF_ERROR(add_remote(config, parts));
  for (const ExternalBackendConfig& external : config.external_backends) {
    KVFERRY_RETURN_IF_ERROR(add_external(external, config, parts));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<CacheParts>> compose_cache(const CacheConfig& config,
                                                  const TokenChunks& space,
                                                  std::shared_ptr<Transport> transport,
                                                  Logger* logger) {
  auto parts = std::make_unique<CacheParts>(logger);
  Status made = make_parts(config, space, std::move(transport), *parts);
  if (made.is_ok()) return parts;
  dismantle(std::move(parts));
  return make_error(std::move(made));
}

}  // namespace kvferry
