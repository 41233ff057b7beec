#pragma once

namespace kvferry {

/// Runs one worker of the demo until the supervisor ends it: `kvferry worker --channel FD
/// --supervisor PID`. Returns the exit code.
int run_worker(int channel_fd, int supervisor_pid);

}  // namespace kvferry
