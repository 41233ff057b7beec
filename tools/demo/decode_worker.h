#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "tools/demo/worker_setup.h"

namespace kvferry {

/// The side that needs a prompt's KV in its pages: looks up what it holds, fetches the rest, and
/// checks every byte against the oracle. A connection that is lost meanwhile is made again. Each
/// command answers with a JSON object.
///
/// Threads: caller serialises.
class DecodeWorker {
 public:
  /// `transport`: null: UCX.
  static Result<std::unique_ptr<DecodeWorker>> create(
      const WorkerSetup& setup, std::shared_ptr<Transport> transport = nullptr);

  /// {"path": how the prefill side is reached}
  Result<nlohmann::json> connect(int64_t prefill_port);
  /// Brings a prompt into the pages and verifies it.
  /// Errors: kUnavailable and others when prefill cannot be reached again, or sends nothing.
  Result<nlohmann::json> fetch(const PromptCommand& prompt);
  Result<nlohmann::json> stats();
  Result<nlohmann::json> trace() { return trace_json(*engine_, base_.setup().role); }

 private:
  struct Fetched {
    int64_t bytes = 0;
    double seconds = 0;
    int64_t reconnects = 0;
    std::vector<Status> ends;
  };

  explicit DecodeWorker(WorkerBase base) : base_(std::move(base)), cache_(base_.take_cache()) {}

  Status reconnect();
  /// Asks for the items that are lost with a connection, or were not asked for; waits for all.
  void fetch_once(const std::vector<FetchItem>& items, std::vector<Status>& ends);
  Result<Fetched> fetch_missing(std::vector<PromptChunk>& prompt);
  /// Chunks whose pages hold what the oracle says; the others are logged.
  Result<int64_t> verify(const std::vector<PromptChunk>& prompt, nlohmann::json& errors);

  WorkerBase base_;
  PromptCache cache_;
  uint16_t prefill_port_ = 0;
  std::unique_ptr<TransferEngine> engine_;
};

}  // namespace kvferry
