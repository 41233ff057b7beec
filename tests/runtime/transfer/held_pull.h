#pragma once

#include <functional>

namespace kvferry {

/// Holds one pull of this process, which UCX makes by process_vm_readv: this executable has a
/// function of that name, which UCX finds before the system's.
///
/// The bytes are read when the pull is held and again when it is released: what differs was reused
/// meanwhile.
///
/// Threads: any thread.
struct HeldPullEvents {
  std::function<void()> on_held;
  std::function<void(bool is_equal)> on_released;
};

/// Holds the pull after `num_before` others; one in a process's life.
void hold_pull(int num_before, HeldPullEvents events);
void release_pull();

}  // namespace kvferry
