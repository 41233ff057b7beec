#include "tools/demo/prefill_worker.h"

namespace kvferry {
namespace {

constexpr uint64_t kCacheSeedOffset = 1;

}  // namespace

Result<std::unique_ptr<PrefillWorker>> PrefillWorker::create(const WorkerSetup& setup,
                                                             std::shared_ptr<Transport> transport) {
  KVFERRY_ASSIGN_OR_RETURN(WorkerBase base, WorkerBase::create(setup, setup.seed + kCacheSeedOffset,
                                                               std::move(transport)));
  std::unique_ptr<PrefillWorker> worker(new PrefillWorker(std::move(base), setup.corrupt_one_in));
  KVFERRY_ASSIGN_OR_RETURN(TransferEngineOptions options,
                           worker->base_.engine_options(static_cast<size_t>(setup.pool_chunks), 1));
  if (setup.corrupt_one_in > 0) {
    options.staged_fragment_hook = [&corruptor =
                                        worker->corruptor_](const StagedFragment& fragment) {
      corruptor.on_staged(fragment);
    };
  }
  KVFERRY_ASSIGN_OR_RETURN(worker->engine_, TransferEngine::create(std::move(options)));
  worker->engine_->serve(&worker->provider_);
  return worker;
}

Result<nlohmann::json> PrefillWorker::listen() {
  KVFERRY_ASSIGN_OR_RETURN(const uint16_t port, engine_->listen(base_.setup().host, 0));
  return nlohmann::json{{"port", port}};
}

Result<nlohmann::json> PrefillWorker::compute(const PromptCommand& prompt) {
  const std::vector<ChunkRef> chunks = base_.chunks_of(prompt);
  return provider_.with_cache([&](PromptCache& cache) -> Result<nlohmann::json> {
    KVFERRY_RETURN_IF_ERROR(cache.close_prompt(open_prompt_));
    open_prompt_.clear();
    KVFERRY_ASSIGN_OR_RETURN(open_prompt_, cache.open_prompt(chunks));
    int64_t computed = 0;
    for (PromptChunk& chunk : open_prompt_) {
      if (chunk.is_held) continue;
      KVFERRY_RETURN_IF_ERROR(base_.oracle().fill(chunk.slots, chunk.ref.key.chunk_hash));
      KVFERRY_RETURN_IF_ERROR(cache.publish(chunk));
      ++computed;
    }
    return nlohmann::json{{"chunks_computed", computed}};
  });
}

Result<nlohmann::json> PrefillWorker::stats() {
  nlohmann::json stats = stats_json(engine_->stats());
  stats["corrupted_keys"] = corruptor_.keys();
  stats["chunks_open"] = provider_.num_open();
  return stats;
}

}  // namespace kvferry
