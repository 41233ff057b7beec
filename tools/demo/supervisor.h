#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "kvferry/status.h"
#include "tools/demo/demo_options.h"
#include "tools/demo/report.h"
#include "tools/demo/silence_watch.h"
#include "tools/demo/stage_measurer.h"
#include "tools/demo/worker_process.h"
#include "tools/interrupts.h"
#include "tools/progress.h"

namespace kvferry {

/// Starts both workers, drives them through the requests, notices when one of them dies, stops or
/// hangs (SilenceWatch), and ends them when it is interrupted.
class Supervisor {
 public:
  /// Borrows both.
  Supervisor(const DemoPlan& plan, Interrupts& interrupts);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  /// Errors: kUnavailable when a worker died, or stayed stopped; kDeadlineExceeded when one hangs;
  ///   kCancelled when interrupted; whatever a worker reports.
  Result<DemoReport> run();

 private:
  Status start_workers();
  StageMeasurer make_measurer();
  Status replay(std::optional<StageMeasurer>& measurer, DemoReport& report);
  Status replay_one(const TraceRequest& request, DemoReport& report);
  /// What decode and prefill counted, once both are quiet.
  Result<std::pair<nlohmann::json, nlohmann::json>> final_stats();
  Status collect(DemoReport& report);
  /// What both workers recorded, as one file for a trace viewer.
  Result<std::string> collect_trace();

  /// Sends a command and waits for its answer, with an eye on both workers.
  Result<nlohmann::json> call(WorkerProcess& worker, const nlohmann::json& message);
  Status send(WorkerProcess& worker, const nlohmann::json& message);
  Result<nlohmann::json> wait_for(WorkerProcess& worker);
  Status check_alive(WorkerProcess& worker);
  Status check_interrupted();
  /// The error that a worker's end is, unless it ended because the whole job was interrupted.
  Status ended(WorkerProcess& worker);
  /// The error that an ended worker reported and nobody has read, if any.
  std::optional<Status> read_last_words(WorkerProcess& worker);
  /// Says why no answer comes from `worker`, if that is new; an error when it is enough.
  Status look_at(const WorkerProcess& worker, TimePoint now, SilenceWatch& watch);
  WorkerProcess& other_than(const WorkerProcess& worker);
  void kill_workers();

  const DemoPlan& plan_;
  Interrupts& interrupts_;
  Progress progress_;
  bool said_slow_ = false;
  bool has_explained_ = false;  // why the worker that is waited for is silent
  std::unique_ptr<WorkerProcess> prefill_;
  std::unique_ptr<WorkerProcess> decode_;
};

}  // namespace kvferry
