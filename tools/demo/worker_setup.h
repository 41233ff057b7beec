#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "kvferry/chunk_hash.h"
#include "kvferry/logger.h"
#include "kvferry/status.h"
#include "kvferry/transfer_engine.h"
#include "workload/engine/model_shape.h"
#include "workload/engine/prompt_cache.h"
#include "workload/oracle/page_oracle.h"
#include "workload/traffic/trace.h"

namespace kvferry {

/// What the supervisor tells a worker first; JSON on its channel.
struct WorkerSetup {
  std::string role;             ///< "prefill" or "decode"
  std::string device = "host";  ///< where the pages lie
  std::string model;
  std::string token;
  int best_path = 0;  ///< a PeerClass
  int64_t num_blocks = 0;
  int64_t scratch_blocks = 0;
  int64_t pool_chunks = 0;
  int64_t chunk_bytes = 0;
  int64_t corrupt_one_in = 0;
  uint64_t seed = 0;
  std::string host;  ///< where prefill listens
  bool keeps_trace = false;
  bool verbose = false;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(WorkerSetup, role, device, model, token, best_path, num_blocks,
                                   scratch_blocks, pool_chunks, chunk_bytes, corrupt_one_in, seed,
                                   host, keeps_trace, verbose)

/// A prompt, as the supervisor names it: the trace's request, cut.
struct PromptCommand {
  std::vector<int64_t> hash_ids;
  int64_t input_length = 0;
  int64_t max_tokens = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PromptCommand, hash_ids, input_length, max_tokens)

/// What both roles have: the model, a paged cache fragmented in its own way, the hasher. Each role
/// derives tokens, hashes and contents by itself, so that neither can be wrong in the other's name.
class WorkerBase {
 public:
  /// `transport`: null: UCX.
  static Result<WorkerBase> create(const WorkerSetup& setup, uint64_t cache_seed,
                                   std::shared_ptr<Transport> transport);

  /// Makes the engine's options for this role.
  Result<TransferEngineOptions> engine_options(size_t staging_chunks, size_t landing_chunks) const;

  std::vector<ChunkRef> chunks_of(const PromptCommand& prompt) const;

  /// The cache, once: it moves to whoever uses it.
  PromptCache take_cache() { return std::move(cache_); }
  /// Of the cache's pages.
  PageOracle& oracle() { return oracle_; }

  const WorkerSetup& setup() const { return setup_; }
  const ModelShape& model() const { return model_; }

 private:
  WorkerBase(WorkerSetup setup, ModelShape model, ChunkHasher hasher, PromptCache cache,
             PageOracle oracle, std::shared_ptr<Transport> transport);

  WorkerSetup setup_;
  ModelShape model_;
  ChunkHasher hasher_;
  PromptCache cache_;
  PageOracle oracle_;
  std::shared_ptr<Transport> transport_;
  std::shared_ptr<Logger> logger_;
};

/// The stages of the last transfers, as chrome_trace_events(): {"events": text}.
nlohmann::json trace_json(const TransferEngine& engine, const std::string& role);

/// Counters of a transfer engine and of the process, for the report.
nlohmann::json stats_json(const TransferStats& stats);

}  // namespace kvferry
