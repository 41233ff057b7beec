#pragma once

#include <memory>

#include "backends/remote/circuit_breaker.h"
#include "backends/remote/remote_connector.h"
#include "kvferry/storage_backend.h"

namespace kvferry {

struct RemoteOptions;

/// A connector as a backend: with a circuit breaker before it, and what it finds broken counted,
/// logged and removed.
class RemoteBackend final : public StorageBackend {
 public:
  /// `where` names the store in messages.
  RemoteBackend(BackendContext context, BackendTraits traits, const RemoteOptions& options,
                std::string where, std::unique_ptr<RemoteConnector> connector);

 protected:
  void do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) override;
  void do_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
              const TransferSpec& spec, PutDone done) override;
  void do_get(std::span<const CacheEngineKey> keys, const GetOptions& options,
              GetDone done) override;
  void do_remove(std::span<const CacheEngineKey> keys, bool force, RemoveDone done) override;
  void do_close(std::function<void()> on_closed) override;

 private:
  class CallOutcome;

  TimePoint now() const { return context().executor->clock().now(); }
  /// Null when the breaker refuses the call, whose items then end unavailable().
  std::shared_ptr<CallOutcome> admit(size_t num_items);
  Status unavailable() const;
  void record(CircuitBreaker::Outcome outcome);
  Result<MemoryObjPtr> without_broken(const CacheEngineKey& key, Result<MemoryObjPtr> obj);
  void log(LogLevel level, const std::string& line) const;

  const std::string where_;
  CircuitBreaker breaker_;
  std::unique_ptr<RemoteConnector> connector_;
};

}  // namespace kvferry
