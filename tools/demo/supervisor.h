#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "kvferry/status.h"
#include "tools/demo/demo_options.h"
#include "tools/demo/report.h"
#include "tools/demo/stage_measurer.h"
#include "tools/demo/worker_process.h"

namespace kvferry {

/// Starts both workers, drives them through the requests, and notices when one of them dies.
class Supervisor {
 public:
  explicit Supervisor(const DemoPlan& plan) : plan_(plan) {}

  /// Errors: kUnavailable when a worker died; whatever a worker reports.
  Result<DemoReport> run();

 private:
  Status start_workers();
  StageMeasurer make_measurer();
  Status replay(std::optional<StageMeasurer>& measurer, DemoReport& report);
  Status replay_one(const TraceRequest& request, DemoReport& report);
  /// What decode and prefill counted, once both are quiet.
  Result<std::pair<nlohmann::json, nlohmann::json>> final_stats();
  Status collect(DemoReport& report);

  /// Sends a command and waits for its answer, with an eye on both workers.
  Result<nlohmann::json> call(WorkerProcess& worker, const nlohmann::json& message);
  Status send(WorkerProcess& worker, const nlohmann::json& message);
  Result<nlohmann::json> wait_for(WorkerProcess& worker);
  Status check_alive(WorkerProcess& worker);

  const DemoPlan& plan_;
  std::unique_ptr<WorkerProcess> prefill_;
  std::unique_ptr<WorkerProcess> decode_;
};

}  // namespace kvferry
