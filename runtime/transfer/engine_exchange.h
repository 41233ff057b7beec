#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kvferry/peer_exchange.h"
#include "runtime/transfer/engine_core.h"

namespace kvferry {

/// The PeerExchange of one engine.
class EngineExchange final : public PeerExchange {
 public:
  /// The parts of connect() that block.
  struct Blocking {
    std::function<Result<std::string>(const std::string& host, uint16_t port)> connect;
    std::function<bool(const std::string& peer)> is_connected;
  };

  /// `core` is borrowed, and belongs to `control`.
  EngineExchange(EngineCore& core, Executor& control, Blocking blocking);

  Status connect(const PeerAddress& peer) override;
  void set_lost_handler(std::function<void(const std::string& peer)> handler) override;
  void ask(const std::string& peer, std::vector<CacheEngineKey> keys, PeerQuestion question,
           Duration timeout, AskDone done) override;
  void fetch(const std::string& peer, std::vector<CacheEngineKey> keys, MemoryAllocator& allocator,
             FetchOptions options, GetDone done) override;
  void push(const std::string& peer, std::vector<CacheEngineKey> keys,
            std::vector<MemoryObjPtr> objs, Duration timeout, PutDone done) override;
  void close(std::function<void()> on_closed) override;

 private:
  class Gate;

  /// Held by whatever is open with the peer; keeps the gate open.
  std::shared_ptr<void> hold(const std::string& peer);
  void end_sessions_that_hold();
  /// The peer's session, or why there is none. REQUIRES: on the control executor.
  Result<PeerSession*> session_of(const std::string& peer) const;
  void begin_fetch(const std::string& peer, const std::vector<CacheEngineKey>& keys,
                   MemoryAllocator& allocator, FetchOptions options, GetDone done);

  EngineCore& core_;
  Executor& control_;
  const Blocking blocking_;

  // Control executor only.
  std::shared_ptr<Gate> gate_;                       // held by all that is open; null once closed
  std::map<std::string, std::weak_ptr<void>> held_;  // by peer
  std::set<FetchId> fetches_;
};

}  // namespace kvferry
