#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kvferry/storage_backend.h"

namespace kvferry {

/// How far a plugin is let in. What it has beyond a bound it does not get, and what it holds too
/// long others do not wait for.
struct PluginLimits {
  /// From submit to answer; also how long its constructor may take.
  Duration timeout = std::chrono::seconds(10);
  /// How long close() waits before it leaves the instance behind.
  Duration close_timeout = std::chrono::seconds(10);

  size_t max_in_flight_items = 256;  ///< given to the plugin and not answered
  size_t max_in_flight_bytes = size_t{1} << 30;
  size_t max_queued_items = 1024;  ///< waiting for the plugin's thread
  size_t max_queued_bytes = size_t{1} << 30;
  /// Timed out, but memory still in the plugin's hands. When it is reached nothing new is given.
  size_t max_quarantined_items = 64;
  size_t max_quarantined_bytes = size_t{256} << 20;
  size_t max_posted_tasks = 4096;
  uint32_t max_log_lines_per_second = 1000;

  /// So many failures in a row, and it is left alone for the time of the cooldown; then one item
  /// tries. 0: never.
  uint32_t breaker_failures = 16;
  Duration breaker_cooldown = std::chrono::seconds(5);
};

/// A backend that lives in a library of somebody else's (kvferry/plugin_abi.h).
struct ExternalOptions {
  /// A path with '/'; or a name, looked for in search_path as lib<name>.so, <name>.so and <name>.
  /// The last component of a dotted name (LMCache's `package.module`) will do.
  std::string module_path;
  std::string class_name;
  std::vector<std::string> search_path;  ///< folders; the first one that has it
  ConfigSection settings;                ///< for the plugin, which reads them by key
  PluginLimits limits;
};

/// Loads the library, for good, and makes an instance, on a thread of its own. A plugin that is
/// slow, late, wrong or stuck costs misses and errors, never a caller's time:
///
/// - every item ends by its deadline (kDeadlineExceeded); memory that the plugin then still holds
///   is quarantined until it answers;
/// - nothing is queued beyond the limits (kResourceExhausted), and nothing given to a plugin that
///   is stuck, fails again and again or holds its whole quarantine (kUnavailable);
/// - what it returns must carry the header of the key that was asked for (kDataLoss);
/// - close() ends within close_timeout. A plugin that does not is left behind: its thread, its
///   instance and the memory it holds stay as they are until the process ends, and are counted
///   (external_abandoned).
///
/// `context.start_thread` is needed; `context.name` is the sink's.
///
/// Errors: kNotFound if there is no such file or class (naming the known ones); kPermissionDenied
///   if others than its owner, or the owner of this process, may write the library or replace it;
///   kUnimplemented for another major version of the boundary; kInvalidArgument if it is no
///   plugin, or a broken one; kFailedPrecondition with the plugin's words if its constructor fails;
///   kDeadlineExceeded if that takes longer than limits.timeout.
Result<std::unique_ptr<StorageBackend>> make_external_backend(BackendContext context,
                                                              const ExternalOptions& options);

}  // namespace kvferry
