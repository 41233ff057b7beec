#pragma once

#include <sys/types.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "kvferry/status.h"
#include "tools/demo/worker_channel.h"
#include "tools/demo/worker_setup.h"

namespace kvferry {

/// A worker of the demo as its supervisor sees it: a process and a channel to it. The destructor
/// ends the process.
class WorkerProcess {
 public:
  /// Starts this program again as a worker, deaf to what a terminal sends to all of a job: the
  /// supervisor ends it. `netns` is the file of the network namespace to start in; empty: ours.
  /// Errors: kResourceExhausted with the errno; as NetNamespace.
  static Result<std::unique_ptr<WorkerProcess>> start(const std::string& role,
                                                      const std::string& netns);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  const std::string& role() const { return role_; }
  pid_t pid() const { return pid_; }
  WorkerChannel& channel() { return channel_; }

  /// Has someone stopped it (SIGSTOP, a debugger)?
  bool is_stopped() const;
  /// Ends it at once, whatever it does.
  void kill();

  /// "the decode worker (pid 7) was killed by signal 9 (Killed)", once it has ended. Waits a moment
  /// for a process that has closed its channel and is about to end.
  std::string describe_end();

 private:
  WorkerProcess(std::string role, pid_t pid, UniqueFd socket)
      : role_(std::move(role)), pid_(pid), channel_(std::move(socket)) {}

  const std::string role_;
  pid_t pid_;
  bool reaped_ = false;
  int wait_status_ = 0;
  WorkerChannel channel_;
};

}  // namespace kvferry
