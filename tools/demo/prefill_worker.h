#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "tools/demo/corruptor.h"
#include "tools/demo/worker_setup.h"
#include "workload/engine/prompt_provider.h"

namespace kvferry {

/// The side that computes prompts and serves their KV. Each command answers with a JSON object.
///
/// Threads: caller serialises.
class PrefillWorker {
 public:
  /// `transport`: null: UCX.
  static Result<std::unique_ptr<PrefillWorker>> create(
      const WorkerSetup& setup, std::shared_ptr<Transport> transport = nullptr);

  /// {"port": where decode connects}
  Result<nlohmann::json> listen();
  /// Fills the pages of a prompt's chunks that are not held; ends the prompt before.
  Result<nlohmann::json> compute(const PromptCommand& prompt);
  Result<nlohmann::json> stats();
  Result<nlohmann::json> trace() { return trace_json(*engine_, base_.setup().role); }

 private:
  PrefillWorker(WorkerBase base, int64_t corrupt_one_in)
      : base_(std::move(base)), corruptor_(corrupt_one_in), provider_(base_.take_cache()) {}

  WorkerBase base_;
  Corruptor corruptor_;
  PromptProvider provider_;
  std::vector<PromptChunk> open_prompt_;
  std::unique_ptr<TransferEngine> engine_;
};

}  // namespace kvferry
