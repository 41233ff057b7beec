#include "runtime/transfer/peer_session.h"

#include <algorithm>
#include <utility>

namespace kvferry {
namespace {

// So many pings are missed before a peer counts as silent.
constexpr int kTicksOfSilence = 4;

}  // namespace

PeerSession::PeerSession(EngineContext& context, std::unique_ptr<Channel> channel, ControlRole role)
    : context_(context),
      channel_(std::move(channel)),
      since_(context.control.clock().now()),
      introduction_(context, role) {}

void PeerSession::start(Events events) {
  events_ = std::move(events);
  const std::weak_ptr<PeerSession> weak = weak_from_this();
  const Status started =
      channel_->start([this](std::span<const std::byte> bytes) { on_bytes(bytes); },
                      [this](const Status& status) {
                        end(Status(StatusCode::kUnavailable,
                                   status.is_ok() ? "the control connection ended: the peer is gone"
                                                  : std::string(status.message())),
                            false);
                      });
  if (!started.is_ok()) {
    end(started, false);
    return;
  }
  const Duration timeout = context_.options.handshake_timeout;
  context_.control.post_at(context_.control.clock().now() + timeout, [weak] {
    const std::shared_ptr<PeerSession> self = weak.lock();
    if (!self || self->state_ >= State::kReady) return;
    self->end(Status(StatusCode::kDeadlineExceeded, "the peer did not finish its handshake"),
              false);
  });
  send(introduction_.greeting());
}

void PeerSession::fetch(FetchId id, std::vector<FetchItem> items, FetchOptions options) {
  receiver_->fetch(id, std::move(items), std::move(options));
}

void PeerSession::end_fetch(FetchId id, const Status& status) {
  if (state_ == State::kReady) receiver_->end_fetch(id, status);
}

void PeerSession::turn_away(const Status& status) {
  send(RefusalMessage{status.code(), std::string(status.message())});
  end(status, false);
}

void PeerSession::close(const Status& status) { end(status, true); }

void PeerSession::send(const ControlMessage& message) {
  auto bytes = encode(message);
  if (bytes) {
    channel_->send(*bytes);
  } else {
    end(bytes.error(), false);
  }
}

void PeerSession::on_bytes(std::span<const std::byte> bytes) {
  const std::shared_ptr<PeerSession> self = shared_from_this();
  heard_ = true;
  auto message = decode_message(bytes);
  const bool is_told = message && std::holds_alternative<RefusalMessage>(*message);
  const Status status = message ? dispatch(std::move(message).value()) : message.error();
  if (status.is_ok()) return;
  if (state_ < State::kReady && !is_told) {
    send(RefusalMessage{status.code(), std::string(status.message())});
  }
  end(status, false);
}

Status PeerSession::dispatch(ControlMessage message) {
  return std::visit([this](auto& each) { return on(each); }, message);
}

Status PeerSession::in_order(bool is_in_order) const {
  if (is_in_order) return {};
  return Status(StatusCode::kInvalidArgument, "the peer sent a control message out of order");
}

// ---- handshake

Status PeerSession::on(GreetingMessage& greeting) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kGreeting));
  introduction_.hear(greeting);
  state_ = State::kHello;
  return role() == ControlRole::kConnector ? say_hello() : Status();
}

Status PeerSession::say_hello() {
  KVFERRY_ASSIGN_OR_RETURN(const HelloMessage hello, introduction_.hello());
  send(hello);
  return {};
}

// Not a peer: it is told, and goes.
Status PeerSession::on(InspectMessage& inspect) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kHello && role() == ControlRole::kListener));
  KVFERRY_RETURN_IF_ERROR(introduction_.check(inspect));
  send(ReportMessage{events_.report()});
  events_.on_handshake = nullptr;  // there is none
  return {};
}

Status PeerSession::on(ReportMessage&) { return in_order(false); }

Status PeerSession::on(HelloMessage& hello) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kHello));
  KVFERRY_RETURN_IF_ERROR(introduction_.check(hello));
  KVFERRY_RETURN_IF_ERROR(events_.admit(hello.name));
  channel_->trust();
  if (role() == ControlRole::kListener) KVFERRY_RETURN_IF_ERROR(say_hello());
  const PathMessage path = introduction_.hear(std::move(hello));
  events_.on_known();
  if (state_ != State::kHello) return {};  // the connection ended meanwhile
  state_ = State::kPath;
  send(path);
  return {};
}

Status PeerSession::on(PathMessage& path) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kPath));
  KVFERRY_ASSIGN_OR_RETURN(peer_class_, introduction_.choose_class(path));
  state_ = State::kLink;
  open_link();
  return {};
}

void PeerSession::open_link() {
  link_is_opening_ = true;
  context_.data.post([self = shared_from_this()] {
    EngineContext& context = self->context_;
    auto link = context.options.transport->open_link(self->peer_class_, context.data);
    std::shared_ptr<DataPath> path;
    Status status;
    if (link) {
      path = std::make_shared<DataPath>(
          std::move(link).value(), context.data, self->data_events(),
          DataPath::Copiers{context.copiers.gather(), context.copiers.scatter()},
          context.options.staged_fragment_hook,
          DataPath::Recorders{.out = self->recorder_of(TransferSide::kSource),
                              .in = self->recorder_of(TransferSide::kDestination)});
    } else {
      status = link.error();
    }
    context.control.post([self, path = std::move(path), status]() mutable {
      self->on_link_opened(std::move(path), status);
    });
  });
}

DataPath::Events PeerSession::data_events() {
  const std::weak_ptr<PeerSession> weak = weak_from_this();
  Executor& control = context_.control;
  const auto later = [weak, &control](std::function<void(PeerSession&)> what) {
    control.post([weak, what = std::move(what)] {
      if (const std::shared_ptr<PeerSession> self = weak.lock()) {
        if (self->state_ == State::kReady) what(*self);
      }
    });
  };
  return {
      .on_sent =
          [later](uint64_t id, const Status& status) {
            later([id, status](PeerSession& self) { self.sender_->on_sent(id, status); });
          },
      .on_received =
          [later](uint64_t id, const Status& status) {
            later([id, status](PeerSession& self) { self.receiver_->on_received(id, status); });
          },
      .on_abandoned =
          [later](uint64_t id) {
            later([id](PeerSession& self) { self.receiver_->on_abandoned(id); });
          },
  };
}

void PeerSession::on_link_opened(std::shared_ptr<DataPath> path, const Status& status) {
  link_is_opening_ = false;
  path_ = std::move(path);
  if (state_ == State::kEnding) {
    close_path();  // the end came first
    return;
  }
  if (!status.is_ok()) {
    end(status, false);
    return;
  }
  fences_sources_ = path_->capabilities().fences_sources;
  path_name_ = path_->capabilities().path;
  make_directions();
  send(LinkMessage{peer_class_, path_->address()});
  if (!peer_link_address_.empty()) connect_link();
}

Status PeerSession::on(LinkMessage& link) {
  KVFERRY_RETURN_IF_ERROR(
      in_order(state_ == State::kLink && peer_link_address_.empty() && !link.address.empty()));
  if (link.peer_class != peer_class_) {
    return Status(StatusCode::kFailedPrecondition, "the peer chose another path than we did");
  }
  peer_link_address_ = std::move(link.address);
  if (path_) connect_link();
  return {};
}

void PeerSession::connect_link() {
  context_.data.post([self = shared_from_this(), path = path_, address = peer_link_address_] {
    const Status status = path->connect(address);
    self->context_.control.post([self, status] { self->on_link_connected(status); });
  });
}

void PeerSession::on_link_connected(const Status& status) {
  if (state_ != State::kLink) return;
  if (!status.is_ok()) {
    end(status, false);
    return;
  }
  own_ready_ = true;
  send(ReadyMessage{});
  become_ready_if_both();
}

Status PeerSession::on(ReadyMessage&) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ == State::kLink && !peer_ready_));
  peer_ready_ = true;
  become_ready_if_both();
  return {};
}

void PeerSession::become_ready_if_both() {
  if (!own_ready_ || !peer_ready_ || state_ != State::kLink) return;
  state_ = State::kReady;
  was_ready_ = true;
  context_.log(LogLevel::kInfo,
               "peer_connected peer=" + peer_name() + " path=\"" + path_name_ + "\"");
  tick();
  if (events_.on_handshake) std::exchange(events_.on_handshake, nullptr)(Status());
}

// ---- life

// Counts ticks, not time: one who was stopped himself finds what came meanwhile before he judges.
void PeerSession::tick() {
  if (state_ != State::kReady) return;
  silent_ticks_ = std::exchange(heard_, false) ? 0 : silent_ticks_ + 1;
  if (silent_ticks_ >= kTicksOfSilence) {
    return end(
        Status(StatusCode::kUnavailable, "the peer is silent; is it stopped, or the network cut?"),
        false);
  }
  const Status stuck = why_stuck();
  if (!stuck.is_ok()) return end(stuck, false);
  send(PingMessage{});
  Executor& control = context_.control;
  control.post_at(control.clock().now() + context_.options.silence_limit / kTicksOfSilence,
                  [weak = weak_from_this()] {
                    if (const std::shared_ptr<PeerSession> self = weak.lock()) self->tick();
                  });
}

Status PeerSession::why_stuck() const {
  const TimePoint now = context_.control.clock().now();
  if (!sender_->is_stuck(now) && !receiver_->is_stuck(now)) return {};
  return {StatusCode::kDeadlineExceeded, "a transfer with the peer makes no progress"};
}

Status PeerSession::on(PingMessage&) {
  is_agreed_ = is_agreed_ || state_ == State::kReady;  // its first comes when it is ready
  return in_order(state_ >= State::kLink);
}

void PeerSession::tell_quiet(std::vector<Nonce> sessions) {
  if (!sessions.empty()) send(QuietMessage{std::move(sessions)});
}

Status PeerSession::on(QuietMessage& quiet) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ > State::kHello));
  for (const Nonce& ended : quiet.sessions) events_.on_quiet_peer(ended);
  return {};
}

// ---- end

Status PeerSession::on(GoodbyeMessage&) {
  peer_said_goodbye_ = true;
  return Status(StatusCode::kUnavailable, "the peer said goodbye");
}

Status PeerSession::on(RefusalMessage& refusal) {
  KVFERRY_RETURN_IF_ERROR(in_order(state_ < State::kReady));
  return Status(refusal.code,
                "the peer refused: " + detail::printable(refusal.reason, kMaxReasonBytes));
}

void PeerSession::end(const Status& status, bool say_goodbye) {
  if (state_ >= State::kEnding) return;
  const std::shared_ptr<PeerSession> self = shared_from_this();
  state_ = State::kEnding;
  if (!say_goodbye) channel_->close();
  if (events_.on_handshake) std::exchange(events_.on_handshake, nullptr)(status);
  end_status_ = status;
  says_goodbye_ = say_goodbye;
  if (!link_is_opening_) close_path();  // else the link is closed once it is open
}

void PeerSession::close_path() {
  if (!path_) {
    on_quiet();
    return;
  }
  context_.data.post([self = shared_from_this(), path = path_] {
    path->close([self] { self->context_.control.post([self] { self->on_quiet(); }); });
  });
}

void PeerSession::on_quiet() {
  state_ = State::kEnded;
  if (says_goodbye_) {
    send(GoodbyeMessage{});
    channel_->close();
  }
  // The path dies where it lived.
  if (path_) context_.data.post([path = std::exchange(path_, nullptr)] {});
  const ProcessWatch* const process = introduction_.peer_process();
  const bool peer_cannot_read =
      fences_sources_ || peer_said_goodbye_ || (process != nullptr && process->is_gone());
  const Status why = end_status_.with_context("peer '" + peer_name() + "'");
  if (receiver_) receiver_->end(why);
  if (sender_) quarantined_ = sender_->end(peer_cannot_read);
  if (exchange_) exchange_->cancel(why);
  const std::shared_ptr<PeerSession> keep = shared_from_this();
  if (events_.on_ended) std::exchange(events_.on_ended, nullptr)(end_status_);
  reclaim_when_gone();
}

void PeerSession::reclaim_when_gone() {
  if (quarantined_.empty()) return reclaim();
  context_.log(LogLevel::kWarn, "quarantined peer=" + peer_name() +
                                    " chunks=" + std::to_string(quarantined_.size()) +
                                    " until=\"it reconnects, or its process is gone\"");
  ProcessWatch* const process = introduction_.peer_process();
  if (process == nullptr) return;
  const Status watched = process->when_gone([weak = weak_from_this()] {
    if (const std::shared_ptr<PeerSession> self = weak.lock()) self->reclaim();
  });
  if (!watched.is_ok()) {
    context_.log(LogLevel::kWarn, "process_unwatched peer=" + peer_name() + " cause=\"" +
                                      watched.to_string() + "\"");
  }
}

void PeerSession::reclaim() {
  for (const LeaseId& lease : std::exchange(quarantined_, {})) {
    context_.leases.fence(lease).ignore("quarantined by this session");
  }
  if (events_.on_reclaimed) std::exchange(events_.on_reclaimed, nullptr)();
}

}  // namespace kvferry
