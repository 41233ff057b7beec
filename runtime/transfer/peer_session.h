#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/control/channel.h"
#include "runtime/control/messages.h"
#include "runtime/transfer/chunk_exchange.h"
#include "runtime/transfer/chunk_receiver.h"
#include "runtime/transfer/chunk_sender.h"
#include "runtime/transfer/data_path.h"
#include "runtime/transfer/engine_context.h"
#include "runtime/transfer/introduction.h"

namespace kvferry {

/// Everything between this engine and one peer: the control connection, the handshake that picks a
/// path, the data path, and both directions of transfers.
///
///   greeting -> hello -> path -> link -> ready -> ending -> ended
///
/// The end of the control connection ends every transfer. Sources that the peer may still read
/// stay quarantined until the peer says that it is quiet, or its process is gone.
///
/// Threads: the control executor.
class PeerSession : public std::enable_shared_from_this<PeerSession> {
 public:
  struct Events {
    /// Asked when the peer has said its name; an error refuses it.
    std::function<Status(const std::string& peer)> admit;
    /// Once, when the peer has proven who it is.
    std::function<void()> on_known;
    /// The peer's end of a former session is quiet.
    std::function<void(const Nonce& ended)> on_quiet_peer;
    /// Once: the handshake succeeded (OK) or not.
    std::function<void(const Status&)> on_handshake;
    /// Once, after every transfer with the peer has ended.
    std::function<void(const Status&)> on_ended;
    /// Once after on_ended, when no memory is quarantined because of this peer (any more).
    std::function<void()> on_reclaimed;
    /// What an inspector is told.
    std::function<std::string()> report;
  };

  PeerSession(EngineContext& context, std::unique_ptr<Channel> channel, ControlRole role);

  /// Starts the handshake; ends by itself after the handshake timeout.
  void start(Events events);

  void fetch(FetchId id, std::vector<FetchItem> items, FetchOptions options);
  /// Ends what has not arrived of a fetch, if this session has it.
  void end_fetch(FetchId id, const Status& status);
  // REQUIRES: is_ready()
  ChunkSender& sender() { return *sender_; }
  ChunkReceiver& receiver() { return *receiver_; }
  ChunkExchange& exchange() { return *exchange_; }

  /// Ends the handshake, and tells the peer why.
  void turn_away(const Status& status);
  /// Ends in order: transfers are cancelled, the link closed, the peer told goodbye.
  void close(const Status& status);

  /// Tells the peer of ended sessions with it. When it is known.
  void tell_quiet(std::vector<Nonce> sessions);
  /// Nobody can read what this ended session has in quarantine (any more).
  void reclaim();

  /// Equal on both sides; unlike that of any other session.
  const Nonce& id() const { return introduction_.session_id(); }
  /// Empty until it has proven itself.
  const std::string& peer_name() const { return introduction_.peer_name(); }
  ControlRole role() const { return introduction_.role(); }
  bool is_ready() const { return state_ == State::kReady; }
  bool is_shaking_hands() const { return state_ < State::kReady; }
  /// The handshake succeeded for the peer too: it will not prefer another connection any more.
  bool is_agreed() const { return is_agreed_; }
  /// Has connected to us, and not proven who it is yet.
  bool is_stranger() const { return role() == ControlRole::kListener && state_ < State::kPath; }
  TimePoint since() const { return since_; }
  bool is_over() const { return state_ == State::kEnded; }
  /// The handshake succeeded, whatever came later.
  bool was_ready() const { return was_ready_; }
  PeerInfo peer_info() const { return {peer_name(), peer_class_, path_name_}; }

 private:
  enum class State : uint8_t { kGreeting, kHello, kPath, kLink, kReady, kEnding, kEnded };

  void send(const ControlMessage& message);
  void on_bytes(std::span<const std::byte> bytes);
  Status dispatch(ControlMessage message);
  Status in_order(bool is_in_order) const;

  Status on(GreetingMessage& greeting);
  Status on(HelloMessage& hello);
  Status on(PathMessage& path);
  Status on(LinkMessage& link);
  Status on(ReadyMessage&);
  Status on(FetchMessage& fetch);
  Status on(UnservedMessage& unserved);
  Status on(OfferMessage& offer);
  Status on(GrantMessage& grant);
  Status on(AbandonMessage& abandon);
  Status on(AckMessage& ack);
  Status on(GoodbyeMessage&);
  Status on(RefusalMessage& refusal);
  Status on(PingMessage&);
  Status on(QuietMessage& quiet);
  Status on(WithdrawMessage& withdraw);
  Status on(InspectMessage& inspect);
  Status on(ReportMessage&);
  Status on(AskMessage& ask);
  Status on(AnswerMessage& answer);
  Status on(PushMessage& push);
  Status on(KeptMessage& kept);

  Status say_hello();
  void open_link();
  void on_link_opened(std::shared_ptr<DataPath> path, const Status& status);
  void connect_link();
  void on_link_connected(const Status& status);
  void become_ready_if_both();
  DataPath::Events data_events();
  void make_directions();
  TransferRecorder recorder_of(TransferSide side) const;

  void tick();
  Status why_stuck() const;

  void end(const Status& status, bool say_goodbye);
  void close_path();
  void on_quiet();
  void reclaim_when_gone();

  EngineContext& context_;
  Events events_;
  State state_ = State::kGreeting;
  const std::unique_ptr<Channel> channel_;
  const TimePoint since_;

  Introduction introduction_;
  PeerClass peer_class_ = PeerClass::kNetwork;
  std::string peer_link_address_;
  std::string path_name_;
  bool was_ready_ = false;
  bool is_agreed_ = false;
  bool own_ready_ = false;
  bool peer_ready_ = false;
  bool peer_said_goodbye_ = false;
  bool fences_sources_ = false;
  bool link_is_opening_ = false;
  bool heard_ = false;  // anything, since the last tick
  int silent_ticks_ = 0;
  Status end_status_;
  bool says_goodbye_ = false;

  std::vector<LeaseId> quarantined_;

  std::shared_ptr<DataPath> path_;
  std::optional<ChunkSender> sender_;
  std::optional<ChunkReceiver> receiver_;
  std::optional<ChunkExchange> exchange_;
};

}  // namespace kvferry
