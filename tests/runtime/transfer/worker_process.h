#pragma once

#include <string>

#include "tests/runtime/transfer/process_worker.h"
#include "tests/support/self_process.h"

namespace kvferry {

enum class WorkerRole { kServing, kFetching };

/// A worker in a process of its own. Whatever is wrong in there ends it with an exit code.
///
/// Asked to "hold", it says "held" once one of its pulls is; told to "release" it, whether what it
/// read is "equal" to what was there before, or "differs".
class WorkerProcess : public SelfProcess {
 public:
  /// `port`: where a FetchingWorker connects to.
  WorkerProcess(WorkerRole role, const WorkerOptions& options, uint16_t port = 0);

  /// Of a ServingWorker; waits until it listens.
  uint16_t receive_port() const;
  /// Asks it, and waits for the answer; nothing when it has ended.
  std::optional<uint64_t> quarantined_bytes() const;
  std::optional<uint64_t> leases_active() const;
  /// In order. Its exit code, or minus the signal that ended it.
  int end();
};

/// Runs the worker if the command line says so: then its exit code, else -1.
int run_as_worker(int argc, char** argv);

}  // namespace kvferry
