#include "tools/demo/worker_setup.h"

#include <unistd.h>

#include <utility>

#include "kvferry/chunk_layout.h"
#include "kvferry/make_transport.h"
#include "runtime/spdlog_logger.h"
#include "tools/report_text.h"

namespace kvferry {
namespace {

// What the bound of a worker has room for; the built-in workload needs a quarter.
constexpr size_t kTraceEvents = 65536;

}  // namespace

Result<WorkerBase> WorkerBase::create(const WorkerSetup& setup, uint64_t cache_seed,
                                      std::shared_ptr<Transport> transport) {
  if (transport == nullptr) {
    KVFERRY_ASSIGN_OR_RETURN(transport, make_transport("ucx"));
  }
  KVFERRY_ASSIGN_OR_RETURN(const Device device, parse_device(setup.device));
  KVFERRY_ASSIGN_OR_RETURN(const ModelShape model, find_model(setup.model));
  KVFERRY_ASSIGN_OR_RETURN(
      ChunkHasher hasher,
      ChunkHasher::create({.chunk_tokens = kDefaultChunkTokens, .hash_partial_chunk = true}));
  KVFERRY_ASSIGN_OR_RETURN(
      PagedKVCache cache,
      PagedKVCache::create(model, model.preset, setup.num_blocks, cache_seed, device));
  KVFERRY_ASSIGN_OR_RETURN(PageOracle oracle,
                           PageOracle::create(cache.layout(), kDefaultChunkTokens));
  return WorkerBase(setup, model, std::move(hasher), PromptCache(std::move(cache)),
                    std::move(oracle), std::move(transport));
}

WorkerBase::WorkerBase(WorkerSetup setup, ModelShape model, ChunkHasher hasher, PromptCache cache,
                       PageOracle oracle, std::shared_ptr<Transport> transport)
    : setup_(std::move(setup)),
      model_(model),
      hasher_(std::move(hasher)),
      cache_(std::move(cache)),
      oracle_(std::move(oracle)),
      transport_(std::move(transport)),
      logger_(
          make_stderr_logger(setup_.role, setup_.verbose ? LogLevel::kInfo : LogLevel::kError)) {}

Result<TransferEngineOptions> WorkerBase::engine_options(size_t staging_chunks,
                                                         size_t landing_chunks) const {
  TransferEngineOptions options;
  options.name = setup_.role;
  options.token = setup_.token;
  options.chunk_bytes = static_cast<size_t>(setup_.chunk_bytes);
  options.staging_chunks = staging_chunks;
  options.landing_chunks = landing_chunks;
  options.best_path = static_cast<PeerClass>(setup_.best_path);
  options.logger = logger_.get();
  if (setup_.keeps_trace) options.trace_events = kTraceEvents;
  KVFERRY_ASSIGN_OR_RETURN(options.device, parse_device(setup_.device));
  options.transport = transport_;
  return options;
}

std::vector<ChunkRef> WorkerBase::chunks_of(const PromptCommand& prompt) const {
  TraceRequest request;
  request.input_length = prompt.input_length;
  request.hash_ids = prompt.hash_ids;
  return chunks_of_prompt(model_, hasher_, expand_tokens(request, prompt.max_tokens));
}

nlohmann::json trace_json(const TransferEngine& engine, const std::string& role) {
  return {{"events", chrome_trace_events(engine.trace(), role, ::getpid())}};
}

nlohmann::json stats_json(const TransferStats& stats) {
  return {
      {"chunks_sent", stats.chunks_sent},
      {"chunks_received", stats.chunks_received},
      {"chunks_mismatched", stats.chunks_mismatched},
      {"chunks_refetched", stats.chunks_refetched},
      {"bytes_received", stats.bytes_received},
      {"leases_active", stats.leases_active},
      {"quarantined_bytes", stats.quarantined_bytes},
      {"mismatched_keys", stats.mismatched_keys},
      {"rss_peak_bytes", rss_peak_bytes()},
  };
}

}  // namespace kvferry
