#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/control/channel.h"
#include "runtime/control/process_view.h"
#include "runtime/memory/lease_table.h"
#include "runtime/memory/memory_pool.h"
#include "runtime/telemetry/log_limit.h"
#include "runtime/transfer/engine_context.h"
#include "runtime/transfer/peer_session.h"
#include "runtime/transfer/slot_sharing.h"

namespace kvferry {

/// A transfer engine without threads and sockets: pools, leases and the sessions with peers, on
/// executors and over channels that it is given. TransferEngine gives it threads and TCP, the
/// simulator a scheduler and a wire that fails.
///
/// Threads: the control executor; create and destroy from anywhere while neither executor runs.
class EngineCore {
 public:
  /// Everything is borrowed but the options.
  struct Environment {
    Executor& control;
    Executor& data;
    ProcessView& processes;
  };

  /// Errors: kInvalidArgument naming the option; kResourceExhausted.
  static Result<std::unique_ptr<EngineCore>> create(TransferEngineOptions options,
                                                    const Environment& environment);
  /// Both executors have stopped, or never run again.
  ~EngineCore();
  EngineCore(const EngineCore&) = delete;
  EngineCore& operator=(const EngineCore&) = delete;

  /// Shakes hands with whoever is at the other end. `on_handshake`, which may be empty, runs once
  /// with the peer's name or why it is none.
  void add_peer(std::unique_ptr<Channel> channel, ControlRole role,
                std::function<void(const Result<std::string>&)> on_handshake);
  /// False while so many shake hands that no more should be let in: none of them is a stranger, of
  /// whom the oldest gives way to a newcomer.
  bool takes_strangers() const;
  /// Logs, within bounds, what any stranger can provoke.
  void warn_of_stranger(const std::string& line) { stranger_log_->log(line); }

  void fetch(FetchId id, const std::string& peer, std::vector<FetchItem> items,
             FetchOptions options);
  void cancel(FetchId id);
  /// Null: not_connected().
  PeerSession* find_ready(const std::string& peer) const;
  Status not_connected(const std::string& peer) const;
  /// Ends what is asked of peers and pushed to them.
  void cancel_exchange(const Status& status);
  void set_store(PeerStore* store) { context_->store = store; }
  FetchId next_object_fetch_id() { return context_->next_object_fetch_id++; }
  void set_provider(ChunkProvider* provider) { context_->provider = provider; }
  /// Runs when a peer's connection ends, after every transfer with it has ended.
  void set_peer_lost_handler(std::function<void(const std::string& peer, const Status&)> handler) {
    on_peer_lost_ = std::move(handler);
  }

  /// Ends every session (kCancelled); `on_ended` runs once, when nothing of them is left.
  void end(std::function<void()> on_ended);

  std::vector<PeerInfo> peers() const;
  TransferStats stats() const;
  /// All that an operator wants to know, as JSON.
  std::string report() const;
  std::vector<TransferEvent> trace() const { return context_->recorder.events(); }
  const TransferEngineOptions& options() const { return context_->options; }
  const EngineContext& context() const { return *context_; }

 private:
  EngineCore() = default;

  Status admit(const PeerSession& session, const std::string& peer);
  void poll_copiers();
  void pump();
  bool has_room_for_handshakes() const;
  PeerSession* oldest_stranger() const;
  void remove(const PeerSession* session);
  void remember_quiet(const PeerSession& session);
  std::vector<Nonce> quiet_with(const std::string& peer) const;
  void reclaim(const std::string& peer, const Nonce& ended);
  void tell_if_all_ended();

  std::unique_ptr<PageCopiers> copiers_;
  std::unique_ptr<MemoryPool> staging_;
  std::unique_ptr<MemoryPool> landing_;
  LeaseTable leases_;
  TransferStats stats_;
  std::unique_ptr<FlightRecorder> recorder_;
  std::unique_ptr<SlotSharing> staging_shares_;
  std::unique_ptr<SlotSharing> landing_shares_;
  std::unique_ptr<EngineContext> context_;
  std::optional<LogLimit> stranger_log_;
  std::vector<std::shared_ptr<PeerSession>> sessions_;
  std::function<void(const std::string&, const Status&)> on_peer_lost_;
  struct Quiet {
    std::string peer;
    Nonce session{};
  };
  std::deque<Quiet> quiet_;               // ended sessions, whose links are gone
  std::atomic<bool> pump_is_due_{false};  // memory is released on any thread
  bool ending_ = false;
  std::function<void()> on_all_ended_;
};

}  // namespace kvferry
