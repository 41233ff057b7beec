#include "kvferry/transfer_engine.h"

#include <algorithm>
#include <future>
#include <utility>

#include "runtime/control/tcp_listener.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/transfer/peer_session.h"

namespace kvferry {
namespace {

// Connections that have not said who they are yet, at most.
constexpr size_t kMaxHandshakes = 64;
// Longer than anyone waits, and far from where a point in time overflows.
constexpr Duration kMaxHandshakeTimeout = std::chrono::hours(24);

Status check_options(const TransferEngineOptions& options) {
  const auto invalid = [](const std::string& what) {
    return Status(StatusCode::kInvalidArgument, "TransferEngineOptions." + what);
  };
  const auto too_long = [&](const std::string& option, const std::string& value) {
    return invalid(option + " is " + std::to_string(value.size()) + " bytes long; the limit is " +
                   std::to_string(kMaxNameBytes));
  };
  if (options.name.empty()) return invalid("name is empty");
  if (options.name.size() > kMaxNameBytes) return too_long("name", options.name);
  if (options.token.empty()) return invalid("token is empty; peers must share a secret");
  if (options.token.size() > kMaxNameBytes) return too_long("token", options.token);
  if (options.handshake_timeout <= Duration::zero())
    return invalid("handshake_timeout is not above 0");
  if (options.handshake_timeout > kMaxHandshakeTimeout) {
    return invalid("handshake_timeout is above 24 hours");
  }
  if (options.chunk_bytes == 0) return invalid("chunk_bytes is 0");
  if (options.staging_chunks == 0) return invalid("staging_chunks is 0");
  if (options.landing_chunks == 0) return invalid("landing_chunks is 0");
  if (options.fragment_bytes < 1) return invalid("fragment_bytes is below 1");
  if (options.max_refetches < 0) return invalid("max_refetches is negative");
  if (options.transport == nullptr) return invalid("transport is missing; see make_transport");
  return {};
}

}  // namespace

/// Owns what sessions share, in the order in which it may end. Sessions and everything they use
/// belong to the control executor; the outside posts to it.
class TransferEngine::Impl {
 public:
  static Result<std::unique_ptr<Impl>> create(TransferEngineOptions options);
  ~Impl();

  Result<uint16_t> listen(const std::string& host, uint16_t port);
  Result<std::string> connect(const std::string& host, uint16_t port);
  void fetch(const std::string& peer, std::vector<FetchItem> items, FetchOptions options);

  /// Runs `what` on the control executor and waits for its result.
  template <typename Function>
  auto on_control(Function what) const {
    if (control_->is_current()) return what();  // asked for from inside a callback
    std::promise<decltype(what())> result;
    control_->post([&] {
      if constexpr (std::is_void_v<decltype(what())>) {
        what();
        result.set_value();
      } else {
        result.set_value(what());
      }
    });
    return result.get_future().get();
  }

  EngineContext& context() { return *context_; }
  const std::vector<std::shared_ptr<PeerSession>>& sessions() const { return sessions_; }
  std::function<void(const std::string&, const Status&)> on_peer_lost;

 private:
  Impl() = default;

  Status start_listening(UniqueFd socket);
  void accept(UniqueFd socket);
  std::shared_ptr<PeerSession> add_session(UniqueFd socket,
                                           std::function<void(const Status&)> on_handshake);
  Status admit(const std::string& peer) const;
  void remove(const PeerSession* session);
  void tell_if_all_ended();

  SteadyClock clock_;
  std::unique_ptr<MemoryPool> staging_;
  std::unique_ptr<MemoryPool> landing_;
  LeaseTable leases_;
  TransferStats stats_;
  std::unique_ptr<EngineContext> context_;
  std::vector<std::shared_ptr<PeerSession>> sessions_;
  std::unique_ptr<TcpListener> listener_;
  std::promise<void> all_ended_;
  bool ending_ = false;
  bool told_all_ended_ = false;
  std::unique_ptr<ThreadExecutor> data_;
  std::unique_ptr<ThreadExecutor> control_;
};

Result<std::unique_ptr<TransferEngine::Impl>> TransferEngine::Impl::create(
    TransferEngineOptions options) {
  KVFERRY_RETURN_IF_ERROR(check_options(options));
  std::unique_ptr<Impl> impl(new Impl());
  KVFERRY_ASSIGN_OR_RETURN(
      impl->staging_,
      MemoryPool::create({.slot_bytes = options.chunk_bytes, .num_slots = options.staging_chunks}));
  KVFERRY_ASSIGN_OR_RETURN(
      impl->landing_,
      MemoryPool::create({.slot_bytes = options.chunk_bytes, .num_slots = options.landing_chunks}));
  KVFERRY_ASSIGN_OR_RETURN(impl->data_, ThreadExecutor::create("kvferry-data", impl->clock_));
  KVFERRY_ASSIGN_OR_RETURN(impl->control_, ThreadExecutor::create("kvferry-ctl", impl->clock_));
  impl->context_ = std::make_unique<EngineContext>(
      EngineContext{std::move(options), *impl->control_, *impl->data_, *impl->staging_,
                    *impl->landing_, impl->leases_, impl->stats_, nullptr, 1});
  const auto pump = [raw = impl.get()] {
    raw->control_->post([raw] {
      for (const auto& session : std::vector(raw->sessions_)) session->pump();
    });
  };
  impl->staging_->set_release_listener(pump);
  impl->landing_->set_release_listener(pump);
  return impl;
}

TransferEngine::Impl::~Impl() {
  if (!control_ || !data_) return;
  control_->post([this] {
    ending_ = true;
    listener_.reset();
    const Status status(StatusCode::kCancelled, "the engine is shutting down");
    // A peer that may still read quarantined memory finds it gone with the engine.
    std::erase_if(sessions_, [](const auto& session) { return session->is_over(); });
    for (const auto& session : std::vector(sessions_)) session->close(status);
    tell_if_all_ended();
  });
  all_ended_.get_future().wait();
  // Both threads end before either executor and all else that they use: each may still post to the
  // other, and drop memory, whose pool then posts to the control executor.
  control_->stop();
  data_->stop();
  staging_->set_release_listener(nullptr);
  landing_->set_release_listener(nullptr);
}

Status TransferEngine::Impl::admit(const std::string& peer) const {
  const bool known = std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& session) {
    return session->peer_name() == peer && !session->is_over();
  });
  if (!known) return {};
  return Status(StatusCode::kAlreadyExists,
                "a peer named '" + peer + "' is connected already; names must be unique");
}

std::shared_ptr<PeerSession> TransferEngine::Impl::add_session(
    UniqueFd socket, std::function<void(const Status&)> on_handshake) {
  auto session = std::make_shared<PeerSession>(*context_, std::move(socket));
  PeerSession* raw = session.get();
  sessions_.push_back(session);
  session->start({
      .admit = [this](const std::string& peer) { return admit(peer); },
      .on_handshake =
          [this, on_handshake = std::move(on_handshake)](const Status& status) {
            if (!status.is_ok()) {
              context_->log(LogLevel::kWarn,
                            "handshake_failed cause=\"" + status.to_string() + "\"");
            }
            if (on_handshake) on_handshake(status);
          },
      .on_ended =
          [this, raw](const Status& status) {
            if (on_peer_lost && !ending_ && raw->was_ready())
              on_peer_lost(raw->peer_name(), status);
            if (ending_) remove(raw);
          },
      .on_reclaimed = [this, raw] { remove(raw); },
  });
  return session;
}

void TransferEngine::Impl::remove(const PeerSession* session) {
  const auto found = std::find_if(sessions_.begin(), sessions_.end(),
                                  [&](const auto& each) { return each.get() == session; });
  if (found == sessions_.end()) return;
  // Its own call may be on the stack: it goes on the next turn.
  control_->post([keep = std::move(*found)] {});
  sessions_.erase(found);
  tell_if_all_ended();
}

void TransferEngine::Impl::tell_if_all_ended() {
  if (ending_ && sessions_.empty() && !std::exchange(told_all_ended_, true)) all_ended_.set_value();
}

Result<uint16_t> TransferEngine::Impl::listen(const std::string& host, uint16_t port) {
  KVFERRY_ASSIGN_OR_RETURN(UniqueFd socket, tcp_listen(host, port));
  KVFERRY_ASSIGN_OR_RETURN(const uint16_t bound_port, tcp_local_port(socket));
  KVFERRY_RETURN_IF_ERROR(on_control([&] { return start_listening(std::move(socket)); }));
  return bound_port;
}

Status TransferEngine::Impl::start_listening(UniqueFd socket) {
  if (listener_) return Status(StatusCode::kFailedPrecondition, "this engine listens already");
  auto listener = std::make_unique<TcpListener>(
      std::move(socket), *control_,
      TcpListener::Events{
          .on_connection = [this](UniqueFd connection) { accept(std::move(connection)); },
          .on_starved =
              [this](const Status& status) {
                context_->log(LogLevel::kWarn,
                              "connections_wait cause=\"" + status.to_string() + "\"");
              },
      });
  KVFERRY_RETURN_IF_ERROR(listener->start());
  listener_ = std::move(listener);
  return {};
}

void TransferEngine::Impl::accept(UniqueFd socket) {
  const auto handshakes = std::count_if(sessions_.begin(), sessions_.end(),
                                        [](const auto& each) { return each->is_shaking_hands(); });
  if (static_cast<size_t>(handshakes) >= kMaxHandshakes) {
    context_->log(LogLevel::kWarn, "connection_refused cause=\"too many handshakes at once\"");
    return;
  }
  add_session(std::move(socket), nullptr);
}

Result<std::string> TransferEngine::Impl::connect(const std::string& host, uint16_t port) {
  KVFERRY_ASSIGN_OR_RETURN(UniqueFd socket,
                           tcp_connect(host, port, context_->options.handshake_timeout));
  std::promise<Result<std::string>> result;
  auto future = result.get_future();
  control_->post([&] {
    auto session = std::make_shared<std::weak_ptr<PeerSession>>();
    *session = add_session(std::move(socket), [&result, session](const Status& status) {
      const std::shared_ptr<PeerSession> self = session->lock();
      if (status.is_ok() && self) {
        result.set_value(self->peer_name());
      } else {
        result.set_value(tl::unexpected(status));
      }
    });
  });
  return future.get();
}

void TransferEngine::Impl::fetch(const std::string& peer, std::vector<FetchItem> items,
                                 FetchOptions options) {
  control_->post([this, peer, items = std::move(items), options = std::move(options)]() mutable {
    for (const auto& session : sessions_) {
      if (session->is_ready() && session->peer_name() == peer) {
        session->fetch(std::move(items), std::move(options));
        return;
      }
    }
    const Status status(StatusCode::kUnavailable, "no peer named '" + peer + "' is connected");
    for (size_t i = 0; i < items.size() && options.on_chunk; ++i) options.on_chunk(i, status);
    if (options.on_done) options.on_done();
  });
}

// ---- the public face

Result<std::unique_ptr<TransferEngine>> TransferEngine::create(TransferEngineOptions options) {
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<Impl> impl, Impl::create(std::move(options)));
  return std::unique_ptr<TransferEngine>(new TransferEngine(std::move(impl)));
}

TransferEngine::TransferEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TransferEngine::~TransferEngine() = default;

Result<uint16_t> TransferEngine::listen(const std::string& host, uint16_t port) {
  return impl_->listen(host, port);
}

Result<std::string> TransferEngine::connect(const std::string& host, uint16_t port) {
  return impl_->connect(host, port);
}

void TransferEngine::serve(ChunkProvider* provider) {
  impl_->on_control([&] { impl_->context().provider = provider; });
}

void TransferEngine::fetch(const std::string& peer, std::vector<FetchItem> items,
                           FetchOptions options) {
  impl_->fetch(peer, std::move(items), std::move(options));
}

void TransferEngine::set_peer_lost_handler(
    std::function<void(const std::string& peer, const Status&)> handler) {
  impl_->on_control([&] { impl_->on_peer_lost = std::move(handler); });
}

std::vector<PeerInfo> TransferEngine::peers() const {
  return impl_->on_control([this] {
    std::vector<PeerInfo> peers;
    for (const auto& session : impl_->sessions()) {
      if (session->is_ready()) peers.push_back(session->peer_info());
    }
    return peers;
  });
}

TransferStats TransferEngine::stats() const {
  return impl_->on_control([this] {
    TransferStats stats = impl_->context().stats;
    stats.leases_active = impl_->context().leases.active();
    stats.quarantined_bytes = impl_->context().leases.quarantined_bytes();
    return stats;
  });
}

}  // namespace kvferry
