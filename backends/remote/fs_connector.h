#pragma once

#include <atomic>

#include "backends/remote/bounded_tasks.h"
#include "backends/remote/fs_files.h"
#include "backends/remote/remote_connector.h"

namespace kvferry {

struct RemoteOptions;

/// A shared directory, worked on by the context's work pool.
class FsConnector final : public RemoteConnector {
 public:
  FsConnector(const BackendContext& context, const std::string& root, const RemoteOptions& options);

  void exists(std::span<const CacheEngineKey> keys, ContainsDone done) override;
  void put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
           PutDone done) override;
  void get(std::span<const CacheEngineKey> keys, const GetOptions& options, GetDone done) override;
  void remove(std::span<const CacheEngineKey> keys, RemoveDone done) override;
  void close(std::function<void()> on_closed) override;

 private:
  using ForKey = std::function<void(size_t item, const CacheEngineKey& key)>;

  /// Calls `work` for each key within one task, or `give_up` for each with the reason why not.
  void for_all(std::span<const CacheEngineKey> keys, ForKey work,
               const std::function<void(size_t item, Status why)>& give_up);
  void remove_stale_now_and_then();

  const BackendContext context_;
  const Duration stale_after_;
  FsFiles files_;
  BoundedTasks tasks_;
  std::atomic<TimePoint> next_removal_{TimePoint::min()};
};

}  // namespace kvferry
