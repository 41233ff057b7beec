#include "runtime/transfer/engine_core.h"

#include <algorithm>
#include <utility>

namespace kvferry {
namespace {

// Connections that have not said who they are yet, at most.
constexpr size_t kMaxHandshakes = 64;
// Ended sessions whose peers may yet ask whether we are quiet, at most.
constexpr size_t kMaxRemembered = 1024;
// Longer than anyone waits, and far from where a point in time overflows.
constexpr Duration kMaxTimeout = std::chrono::hours(24);

Status check_options(const TransferEngineOptions& options) {
  const auto invalid = [](const std::string& what) {
    return Status(StatusCode::kInvalidArgument, "TransferEngineOptions." + what);
  };
  const auto too_long = [&](const std::string& option, const std::string& value) {
    return invalid(option + " is " + std::to_string(value.size()) + " bytes long; the limit is " +
                   std::to_string(kMaxNameBytes));
  };
  if (options.name.empty()) return invalid("name is empty");
  if (!detail::is_printable(options.name)) return invalid("name is not plain ASCII text");
  if (options.name.size() > kMaxNameBytes) return too_long("name", options.name);
  if (options.token.empty()) return invalid("token is empty; peers must share a secret");
  if (options.token.size() > kMaxNameBytes) return too_long("token", options.token);
  for (const auto& [name, timeout] : {std::pair("handshake_timeout", options.handshake_timeout),
                                      std::pair("silence_limit", options.silence_limit),
                                      std::pair("transfer_timeout", options.transfer_timeout)}) {
    if (timeout <= Duration::zero()) return invalid(std::string(name) + " is not above 0");
    if (timeout > kMaxTimeout) return invalid(std::string(name) + " is above 24 hours");
  }
  if (options.chunk_bytes == 0) return invalid("chunk_bytes is 0");
  if (options.staging_chunks == 0) return invalid("staging_chunks is 0");
  if (options.landing_chunks == 0) return invalid("landing_chunks is 0");
  if (options.fragment_bytes < 1) return invalid("fragment_bytes is below 1");
  if (options.max_refetches < 0) return invalid("max_refetches is negative");
  if (options.transport == nullptr) return invalid("transport is missing; see make_transport");
  return {};
}

/// Of staging and landing.
PoolMemory pool_memory(const TransferEngineOptions& options) {
  if (options.transport->moves_device_memory()) {
    // Host memory is what CUDA copies from or to then, too.
    return options.device.is_host() ? PoolMemory::kPinned : PoolMemory::kDevice;
  }
  return options.device.is_host() ? PoolMemory::kHost : PoolMemory::kPinned;
}

}  // namespace

Result<std::unique_ptr<EngineCore>> EngineCore::create(TransferEngineOptions options,
                                                       const Environment& environment) {
  KVFERRY_RETURN_IF_ERROR(check_options(options));
  if (options.max_quarantined_chunks == 0) {
    options.max_quarantined_chunks = std::max<size_t>(1, options.staging_chunks / 2);
  }
  // Who asks is told why nothing comes, also when there is nothing left that could come.
  options.max_quarantined_chunks = std::min(options.max_quarantined_chunks, options.staging_chunks);
  std::unique_ptr<EngineCore> core(new EngineCore());
  const PoolMemory memory = pool_memory(options);
  if (memory == PoolMemory::kDevice) options.staged_fragment_hook = nullptr;
  const auto make_pool = [&](size_t num_slots) {
    return MemoryPool::create({.slot_bytes = options.chunk_bytes,
                               .num_slots = num_slots,
                               .memory = memory,
                               .cuda_device = options.device.index});
  };
  KVFERRY_ASSIGN_OR_RETURN(core->staging_, make_pool(options.staging_chunks));
  KVFERRY_ASSIGN_OR_RETURN(core->landing_, make_pool(options.landing_chunks));
  KVFERRY_ASSIGN_OR_RETURN(
      core->copiers_,
      PageCopiers::create({.device = options.device,
                           .staging_bytes = core->staging_->bytes(),
                           .fragment_bytes = static_cast<size_t>(options.fragment_bytes)}));
  core->recorder_ = std::make_unique<FlightRecorder>(options.trace_events);
  core->staging_shares_ = std::make_unique<SlotSharing>(*core->staging_, options.max_peer_chunks);
  core->landing_shares_ = std::make_unique<SlotSharing>(*core->landing_, options.max_peer_chunks);
  core->context_ = std::make_unique<EngineContext>(
      EngineContext{std::move(options), environment.control, environment.data,
                    environment.processes, *core->copiers_, *core->staging_, *core->landing_,
                    core->leases_, core->stats_, *core->recorder_, nullptr});
  core->stranger_log_.emplace(
      environment.control, "strangers_refused_too",
      [raw = core->context_.get()](const std::string& line) { raw->log(LogLevel::kWarn, line); });
  if (!core->options().device.is_host()) core->poll_copiers();
  const auto pump_soon = [raw = core.get(), &control = environment.control] {
    if (raw->pump_is_due_.exchange(true)) return;
    control.post([raw] { raw->pump(); });
  };
  core->context_->pump_soon = pump_soon;
  core->staging_->set_release_listener(pump_soon);
  core->landing_->set_release_listener(pump_soon);
  return core;
}

void EngineCore::poll_copiers() {
  context_->data.post([raw = context_.get()] {
    const Status status = raw->copiers.start(raw->data);
    if (!status.is_ok()) raw->log(LogLevel::kError, "copiers_not_polled " + status.to_string());
  });
}

EngineCore::~EngineCore() {
  // What still holds memory drops it here, and nobody is to hear of that.
  staging_->set_release_listener(nullptr);
  landing_->set_release_listener(nullptr);
}

void EngineCore::pump() {
  pump_is_due_ = false;
  std::vector<std::shared_ptr<SlotUser>> senders;
  std::vector<std::shared_ptr<SlotUser>> receivers;
  for (const auto& session : sessions_) {
    if (!session->is_ready()) continue;
    senders.emplace_back(session, &session->sender());
    receivers.emplace_back(session, &session->receiver());
  }
  staging_shares_->hand_out(senders);
  landing_shares_->hand_out(receivers);
}

Status EngineCore::admit(const PeerSession& session, const std::string& peer) {
  // Two that connect to one another at the same moment must not turn one another away: both keep
  // the connection that the one with the smaller name has made. Who listens decides; who has
  // connected finds the decision in being answered: unless it is agreed with the peer of that name
  // on a connection, and this is another one.
  const bool is_ours = session.role() == ControlRole::kConnector;
  const bool is_first = is_ours == (options().name < peer);
  const auto gives_way = [&](const PeerSession& other) {
    const bool crosses = other.role() != session.role() && !other.is_agreed();
    return is_first && crosses && (is_ours || other.is_shaking_hands());
  };
  Status taken(StatusCode::kAlreadyExists,
               "a peer named '" + peer + "' is connected already; names must be unique");
  std::vector<std::shared_ptr<PeerSession>> others;
  for (const auto& other : sessions_) {
    if (other.get() == &session || other->peer_name() != peer || other->is_over()) continue;
    if (!gives_way(*other)) return taken;
    others.push_back(other);
  }
  for (const auto& other : others) other->turn_away(taken);
  return {};
}

bool EngineCore::has_room_for_handshakes() const {
  const auto handshakes = std::count_if(sessions_.begin(), sessions_.end(),
                                        [](const auto& each) { return each->is_shaking_hands(); });
  return static_cast<size_t>(handshakes) < kMaxHandshakes;
}

// A peer proves itself at once; who waits is none, or slower than those who come.
PeerSession* EngineCore::oldest_stranger() const {
  PeerSession* oldest = nullptr;
  for (const auto& each : sessions_) {
    if (!each->is_stranger()) continue;
    if (oldest == nullptr || each->since() < oldest->since()) oldest = each.get();
  }
  return oldest;
}

bool EngineCore::takes_strangers() const {
  return has_room_for_handshakes() || oldest_stranger() != nullptr;
}

void EngineCore::add_peer(std::unique_ptr<Channel> channel, ControlRole role,
                          std::function<void(const Result<std::string>&)> on_handshake) {
  if (role == ControlRole::kListener && !has_room_for_handshakes()) {
    if (PeerSession* const oldest = oldest_stranger()) {
      oldest->turn_away(
          {StatusCode::kUnavailable, "too many who connect have not said who they are; try again"});
    }
  }
  // Not make_shared: its timers hold it weakly, and would keep the memory of every stranger that
  // came and went until the handshake timeout.
  auto session = std::shared_ptr<PeerSession>(new PeerSession(*context_, std::move(channel), role));
  PeerSession* raw = session.get();
  sessions_.push_back(session);
  session->start({
      .admit = [this, raw](const std::string& peer) { return admit(*raw, peer); },
      .on_known = [this, raw] { raw->tell_quiet(quiet_with(raw->peer_name())); },
      .on_quiet_peer = [this, raw](const Nonce& ended) { reclaim(raw->peer_name(), ended); },
      .on_handshake =
          [this, raw, role, on_handshake = std::move(on_handshake)](const Status& status) {
            if (on_handshake) {  // it says what is to be said of a failure
              on_handshake(status.is_ok() ? Result<std::string>(raw->peer_name())
                                          : tl::unexpected(status));
              return;
            }
            if (status.is_ok()) return;
            const std::string line = "handshake_failed cause=\"" + status.to_string() + "\"";
            role == ControlRole::kListener ? warn_of_stranger(line)
                                           : context_->log(LogLevel::kWarn, line);
          },
      .on_ended =
          [this, raw](const Status& status) {
            remember_quiet(*raw);
            if (raw->was_ready()) {
              context_->log(
                  ending_ ? LogLevel::kInfo : LogLevel::kWarn,
                  "peer_lost peer=" + raw->peer_name() + " cause=\"" + status.to_string() + "\"");
            }
            const auto on_peer_lost = on_peer_lost_;  // which may replace itself
            if (on_peer_lost && !ending_ && raw->was_ready()) {
              on_peer_lost(raw->peer_name(), status);
            }
            if (ending_) remove(raw);
          },
      .on_reclaimed = [this, raw] { remove(raw); },
      .report = [this] { return report(); },
  });
}

void EngineCore::remember_quiet(const PeerSession& session) {
  if (session.peer_name().empty()) return;
  quiet_.push_back({session.peer_name(), session.id()});
  const auto is_of_peer = [&](const Quiet& each) { return each.peer == session.peer_name(); };
  if (std::ranges::count_if(quiet_, is_of_peer) > static_cast<ptrdiff_t>(kMaxQuietSessions)) {
    quiet_.erase(std::ranges::find_if(quiet_, is_of_peer));  // its oldest
  }
  if (quiet_.size() > kMaxRemembered) quiet_.pop_front();
}

std::vector<Nonce> EngineCore::quiet_with(const std::string& peer) const {
  std::vector<Nonce> sessions;
  for (auto each = quiet_.rbegin(); each != quiet_.rend(); ++each) {
    if (each->peer == peer) sessions.push_back(each->session);  // kMaxQuietSessions at most
  }
  return sessions;
}

void EngineCore::reclaim(const std::string& peer, const Nonce& ended) {
  for (const auto& session : std::vector(sessions_)) {
    if (session->is_over() && session->peer_name() == peer && session->id() == ended) {
      session->reclaim();
    }
  }
}

void EngineCore::remove(const PeerSession* session) {
  const auto found = std::find_if(sessions_.begin(), sessions_.end(),
                                  [&](const auto& each) { return each.get() == session; });
  if (found == sessions_.end()) return;
  // Its own call may be on the stack: it goes on the next turn.
  context_->control.post([keep = std::move(*found)] {});
  sessions_.erase(found);
  tell_if_all_ended();
}

void EngineCore::fetch(FetchId id, const std::string& peer, std::vector<FetchItem> items,
                       FetchOptions options) {
  if (PeerSession* const session = find_ready(peer)) {
    session->fetch(id, std::move(items), std::move(options));
    return;
  }
  const Status status = not_connected(peer);
  for (size_t i = 0; i < items.size() && options.on_chunk; ++i) options.on_chunk(i, status);
  if (options.on_done) options.on_done({});
}

PeerSession* EngineCore::find_ready(const std::string& peer) const {
  const auto found = std::ranges::find_if(sessions_, [&](const auto& session) {
    return session->is_ready() && session->peer_name() == peer;
  });
  return found == sessions_.end() ? nullptr : found->get();
}

Status EngineCore::not_connected(const std::string& peer) const {
  if (ending_) return {StatusCode::kCancelled, "the engine is shutting down"};
  return {StatusCode::kUnavailable, "no peer named '" + peer + "' is connected"};
}

void EngineCore::cancel_exchange(const Status& status) {
  for (const auto& session : std::vector(sessions_)) {
    if (session->is_ready()) session->exchange().cancel(status);
  }
}

void EngineCore::cancel(FetchId id) {
  const Status status(StatusCode::kCancelled, "the fetch was cancelled");
  for (const auto& session : std::vector(sessions_)) session->end_fetch(id, status);
}

void EngineCore::end(std::function<void()> on_ended) {
  ending_ = true;
  on_all_ended_ = std::move(on_ended);
  const Status status(StatusCode::kCancelled, "the engine is shutting down");
  // A peer that may still read quarantined memory finds it gone with the engine.
  std::erase_if(sessions_, [](const auto& session) { return session->is_over(); });
  for (const auto& session : std::vector(sessions_)) session->close(status);
  tell_if_all_ended();
}

void EngineCore::tell_if_all_ended() {
  if (ending_ && sessions_.empty() && on_all_ended_) std::exchange(on_all_ended_, nullptr)();
}

std::vector<PeerInfo> EngineCore::peers() const {
  std::vector<PeerInfo> peers;
  for (const auto& session : sessions_) {
    if (session->is_ready()) peers.push_back(session->peer_info());
  }
  return peers;
}

TransferStats EngineCore::stats() const {
  TransferStats stats = stats_;
  stats.leases_active = leases_.active();
  stats.quarantined_chunks = leases_.quarantined();
  stats.quarantined_bytes = leases_.quarantined_bytes();
  return stats;
}

}  // namespace kvferry
