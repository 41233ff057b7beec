#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "backends/remote/redis_connection.h"
#include "backends/remote/remote_connector.h"

namespace kvferry {

struct RemoteOptions;

/// A Redis server, or one that speaks its protocol. A chunk is one string value, its key
/// `kvferry:` and the text of the CacheEngineKey.
class RedisConnector final : public RemoteConnector {
 public:
  /// Connects from now on.
  RedisConnector(const BackendContext& context, const RemoteOptions& options);

  void exists(std::span<const CacheEngineKey> keys, ContainsDone done) override;
  void put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
           PutDone done) override;
  void get(std::span<const CacheEngineKey> keys, const GetOptions& options, GetDone done) override;
  void remove(std::span<const CacheEngineKey> keys, RemoveDone done) override;
  void close(std::function<void()> on_closed) override;

 private:
  /// False if so many more may not wait.
  bool reserve(size_t num_items);
  void post(std::vector<RedisOp> ops);
  RedisConnection& least_busy() const;

  const BackendContext context_;
  const size_t max_queued_;
  std::atomic<size_t> num_open_{0};
  // Executor only, once made.
  std::vector<std::shared_ptr<RedisConnection>> connections_;
};

}  // namespace kvferry
