#pragma once

#include <cstdint>
#include <string>

#include "core/unique_fd.h"

namespace kvferry {

/// Equal in all processes that share a running kernel; empty if the system does not tell.
std::string host_id();

/// A random word, for tokens and probes.
uint64_t random_u64();

/// Can this process read that of `pid`? Reads the word at `address` there, as a CMA pull would, and
/// compares. False for a refusal (ptrace scope, user namespace, seccomp) and for another process.
bool can_read_process(int32_t pid, uint64_t address, uint64_t expected);

/// A descriptor that becomes readable when the process ends; unopened if there is none such.
UniqueFd open_pidfd(int32_t pid);
/// Is that process gone? False for an unopened descriptor: nothing is proven then.
bool process_is_gone(const UniqueFd& pidfd);

}  // namespace kvferry
