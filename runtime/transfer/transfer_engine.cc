#include "kvferry/transfer_engine.h"

#include <atomic>
#include <future>
#include <utility>

#include "runtime/control/tcp_channel.h"
#include "runtime/control/tcp_listener.h"
#include "runtime/steady_clock.h"
#include "runtime/thread_executor.h"
#include "runtime/transfer/engine_core.h"
#include "runtime/transfer/engine_exchange.h"

namespace kvferry {

/// Threads and sockets around an EngineCore, in the order in which they may end. The core belongs
/// to the control executor; the outside posts to it.
class TransferEngine::Impl {
 public:
  static Result<std::unique_ptr<Impl>> create(TransferEngineOptions options);
  ~Impl();

  Result<uint16_t> listen(const std::string& host, uint16_t port);
  Result<std::string> connect(const std::string& host, uint16_t port);
  FetchId fetch(const std::string& peer, std::vector<FetchItem> items, FetchOptions options);
  void cancel(FetchId fetch);

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

  EngineCore& core() { return *core_; }
  PeerExchange& exchange() { return *exchange_; }

 private:
  Impl() = default;

  bool is_connected(const std::string& peer) const;
  Status start_listening(UniqueFd socket);
  void accept(UniqueFd socket);
  std::unique_ptr<Channel> make_channel(UniqueFd socket) const;

  std::atomic<FetchId> next_fetch_id_{1};
  SteadyClock clock_;
  const std::unique_ptr<ProcessView> processes_ = make_system_process_view();
  std::unique_ptr<EngineCore> core_;  // after the executors, whose last tasks may hold its memory
  std::unique_ptr<ThreadExecutor> data_;
  std::unique_ptr<ThreadExecutor> control_;
  std::unique_ptr<TcpListener> listener_;
  std::unique_ptr<EngineExchange> exchange_;
};

Result<std::unique_ptr<TransferEngine::Impl>> TransferEngine::Impl::create(
    TransferEngineOptions options) {
  std::unique_ptr<Impl> impl(new Impl());
  KVFERRY_ASSIGN_OR_RETURN(impl->data_, ThreadExecutor::create("kvferry-data", impl->clock_));
  KVFERRY_ASSIGN_OR_RETURN(impl->control_, ThreadExecutor::create("kvferry-ctl", impl->clock_));
  KVFERRY_ASSIGN_OR_RETURN(
      impl->core_,
      EngineCore::create(std::move(options), {*impl->control_, *impl->data_, *impl->processes_}));
  Impl* const raw = impl.get();
  impl->exchange_ = std::make_unique<EngineExchange>(
      *impl->core_, *impl->control_,
      EngineExchange::Blocking{
          .connect = [raw](const std::string& host,
                           uint16_t port) { return raw->connect(host, port); },
          .is_connected = [raw](const std::string& peer) { return raw->is_connected(peer); }});
  return impl;
}

bool TransferEngine::Impl::is_connected(const std::string& peer) const {
  return on_control([&] { return core_->find_ready(peer) != nullptr; });
}

TransferEngine::Impl::~Impl() {
  if (!core_) return;
  std::promise<void> ended;
  control_->post([&] {
    listener_.reset();
    core_->end([&] { ended.set_value(); });
  });
  ended.get_future().wait();
  // Both threads end before either executor and all else that they use: each may still post to the
  // other, and drop memory, whose pool then posts to the control executor.
  control_->stop();
  data_->stop();
}

std::unique_ptr<Channel> TransferEngine::Impl::make_channel(UniqueFd socket) const {
  return std::make_unique<TcpChannel>(std::move(socket), *control_,
                                      TcpChannel::Limits{.max_message_bytes = kMaxMessageBytes});
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
                core_->context().log(LogLevel::kWarn,
                                     "connections_wait cause=\"" + status.to_string() + "\"");
              },
      });
  KVFERRY_RETURN_IF_ERROR(listener->start());
  listener_ = std::move(listener);
  return {};
}

void TransferEngine::Impl::accept(UniqueFd socket) {
  if (!core_->takes_strangers()) {
    core_->warn_of_stranger("connection_refused cause=\"too many handshakes at once\"");
    return;
  }
  core_->add_peer(make_channel(std::move(socket)), ControlRole::kListener, nullptr);
}

Result<std::string> TransferEngine::Impl::connect(const std::string& host, uint16_t port) {
  KVFERRY_ASSIGN_OR_RETURN(UniqueFd socket,
                           tcp_connect(host, port, core_->options().handshake_timeout));
  std::promise<Result<std::string>> result;
  control_->post([&] {
    core_->add_peer(make_channel(std::move(socket)), ControlRole::kConnector,
                    [&result](const Result<std::string>& peer) { result.set_value(peer); });
  });
  return result.get_future().get();
}

FetchId TransferEngine::Impl::fetch(const std::string& peer, std::vector<FetchItem> items,
                                    FetchOptions options) {
  const FetchId id = next_fetch_id_++;
  control_->post(
      [this, id, peer, items = std::move(items), options = std::move(options)]() mutable {
        core_->fetch(id, peer, std::move(items), std::move(options));
      });
  return id;
}

void TransferEngine::Impl::cancel(FetchId fetch) {
  control_->post([this, fetch] { core_->cancel(fetch); });
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
  impl_->on_control([&] { impl_->core().set_provider(provider); });
}

void TransferEngine::share(PeerStore* store) {
  impl_->on_control([&] { impl_->core().set_store(store); });
}

PeerExchange& TransferEngine::exchange() { return impl_->exchange(); }

FetchId TransferEngine::fetch(const std::string& peer, std::vector<FetchItem> items,
                              FetchOptions options) {
  return impl_->fetch(peer, std::move(items), std::move(options));
}

void TransferEngine::cancel(FetchId fetch) { impl_->cancel(fetch); }

void TransferEngine::set_peer_lost_handler(
    std::function<void(const std::string& peer, const Status&)> handler) {
  impl_->on_control([&] { impl_->core().set_peer_lost_handler(std::move(handler)); });
}

std::vector<PeerInfo> TransferEngine::peers() const {
  return impl_->on_control([this] { return impl_->core().peers(); });
}

std::vector<TransferEvent> TransferEngine::trace() const {
  return impl_->on_control([this] { return impl_->core().trace(); });
}

TransferStats TransferEngine::stats() const {
  return impl_->on_control([this] { return impl_->core().stats(); });
}

}  // namespace kvferry
