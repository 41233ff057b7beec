#include "kvferry/cache_engine.h"

#include <utility>

#include "runtime/cache/cache_core.h"
#include "runtime/cache/cache_parts.h"
#include "runtime/telemetry/metrics_server.h"

namespace kvferry {
namespace {

CacheLimits limits_of(const CacheConfig& config) {
  CacheLimits limits;
  limits.store_timeout = config.store_timeout;
  limits.retrieve_timeout = config.retrieve_timeout;
  limits.lookup_timeout = config.lookup_timeout;
  limits.pin_timeout = config.pin_timeout;
  limits.prefetch_max_in_flight_bytes = config.prefetch_max_in_flight_bytes;
  limits.min_retrieve_tokens = config.min_retrieve_tokens;
  limits.copy_threads = static_cast<size_t>(config.copy_threads);
  return limits;
}

}  // namespace

class CacheEngine::Impl {
 public:
  Impl(std::unique_ptr<CacheParts> parts, TokenChunks space, const CacheConfig& config)
      : parts_(std::move(parts)) {
    SinkLimits limits;
    limits.max_in_flight_bytes = config.sinks.max_in_flight_bytes;
    limits.max_queued_puts = static_cast<size_t>(config.sinks.max_waiting_chunks);
    limits.put_timeout = config.store_timeout;
    std::vector<std::shared_ptr<Sink>> sinks;
    for (CacheTier& tier : parts_->tiers) {
      sinks.push_back(
          std::make_shared<Sink>(std::move(tier.backend), limits, *parts_->control, tier.counters));
    }
    parts_->tiers.clear();
    core_ = std::make_unique<CacheCore>(*parts_->control, *parts_->copiers, *parts_->pool,
                                        std::move(space), std::move(sinks), limits_of(config),
                                        &parts_->logger);
  }

  ~Impl() {
    metrics_.reset();
    if (core_->close(kCloseTimeout)) {
      stop_threads(*parts_);
      return;
    }
    // A backend that is still at work may touch anything of this; it stays as it is.
    parts_->logger.log(LogLevel::kError, "cache_engine_abandoned reason=a sink did not close");
    parts_->logger.detach();
    static_cast<void>(core_.release());
    static_cast<void>(parts_.release());
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  CacheCore& core() { return *core_; }
  uint16_t peer_port() const { return parts_->peer_port; }
  uint16_t metrics_port() const { return metrics_ ? metrics_->port() : uint16_t{0}; }

  Status serve_metrics(const MetricsConfig& config) {
    if (config.port == 0) return {};
    KVFERRY_ASSIGN_OR_RETURN(metrics_,
                             make_metrics_server(config.host, static_cast<uint16_t>(config.port),
                                                 [core = core_.get()] { return core->stats(); }));
    return {};
  }

 private:
  std::unique_ptr<CacheParts> parts_;
  std::unique_ptr<CacheCore> core_;
  std::unique_ptr<MetricsServer> metrics_;
};

Result<std::unique_ptr<CacheEngine>> CacheEngine::create(CacheEngineOptions options) {
  CacheEngineKey identity;
  identity.model = std::move(options.model);
  identity.world_size = options.world_size;
  identity.worker_id = options.worker_id;
  identity.tags = std::move(options.tags);
  ChunkHasherOptions hashing;
  hashing.chunk_tokens = options.config.chunk_tokens;
  hashing.seed = options.config.hash_seed;
  hashing.hash_partial_chunk = options.config.save_unfull_chunk;
  KVFERRY_ASSIGN_OR_RETURN(
      TokenChunks space,
      TokenChunks::create(std::move(identity), std::move(hashing), std::move(options.pages)));
  KVFERRY_ASSIGN_OR_RETURN(auto parts, compose_cache(options.config, space,
                                                     std::move(options.transport), options.logger));
  auto impl = std::make_unique<Impl>(std::move(parts), std::move(space), options.config);
  KVFERRY_RETURN_IF_ERROR(impl->serve_metrics(options.config.metrics));
  return std::unique_ptr<CacheEngine>(new CacheEngine(std::move(impl)));
}

CacheEngine::CacheEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CacheEngine::~CacheEngine() = default;

LookupResult CacheEngine::lookup(std::span<const uint32_t> tokens, bool pin,
                                 std::span<const std::string> extra_keys) {
  return impl_->core().lookup(tokens, pin, extra_keys);
}

OperationHandle<StoreResult> CacheEngine::store(const PagedTokens& pages, StoreOptions options) {
  return impl_->core().store(pages, std::move(options));
}

OperationHandle<RetrieveResult> CacheEngine::retrieve(const PagedTokens& pages,
                                                      RetrieveOptions options) {
  return impl_->core().retrieve(pages, std::move(options));
}

OperationHandle<PrefetchResult> CacheEngine::prefetch(std::span<const uint32_t> tokens,
                                                      std::span<const std::string> extra_keys) {
  return impl_->core().prefetch(tokens, extra_keys);
}

ClearResult CacheEngine::clear(std::span<const uint32_t> tokens,
                               std::span<const std::string> extra_keys) {
  return impl_->core().clear(tokens, extra_keys);
}

CacheStats CacheEngine::stats() const { return impl_->core().stats(); }

uint16_t CacheEngine::metrics_port() const { return impl_->metrics_port(); }

uint16_t CacheEngine::peer_port() const { return impl_->peer_port(); }

std::vector<StorageBackend*> CacheEngine::sinks() const {
  std::vector<StorageBackend*> sinks;
  for (const std::shared_ptr<Sink>& sink : impl_->core().sinks()) sinks.push_back(&sink->backend());
  return sinks;
}

}  // namespace kvferry
