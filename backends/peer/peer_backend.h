#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/peer/factory.h"
#include "backends/peer/peer_connections.h"

namespace kvferry {

/// The memory of other engines as a backend: factory.h says what it promises.
class PeerBackend final : public StorageBackend {
 public:
  PeerBackend(BackendContext context, BackendTraits traits, PeerExchange& exchange,
              PeerOptions options);

  /// Begins to connect.
  void start() { connections_.start(); }

 protected:
  void do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) override;
  void do_contains_for_put(std::span<const CacheEngineKey> keys, ContainsDone done) override;
  void do_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
              const TransferSpec& spec, PutDone done) override;
  void do_get(std::span<const CacheEngineKey> keys, const GetOptions& options,
              GetDone done) override;
  void do_remove(std::span<const CacheEngineKey> keys, bool force, RemoveDone done) override;
  void do_close(std::function<void()> on_closed) override;

 private:
  struct Search;

  void search(std::span<const CacheEngineKey> keys, std::vector<std::string> peers,
              ContainsDone done);
  void ask_next(const std::shared_ptr<Search>& search);
  void on_answers(const std::shared_ptr<Search>& search, Result<std::vector<bool>> answers);

  PeerExchange& exchange_;
  const PeerOptions options_;
  PeerConnections connections_;
};

}  // namespace kvferry
