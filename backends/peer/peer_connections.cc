#include "backends/peer/peer_connections.h"

#include <algorithm>
#include <utility>

namespace kvferry {

struct PeerConnections::State {
  struct Peer {
    PeerAddress address;
    bool is_busy = false;   ///< an attempt is under way, or waits for its time
    bool was_lost = false;  ///< while an attempt was under way
    Duration pause{};
    bool is_reported = false;
  };

  BackendContext context;
  PeerExchange& exchange;
  const Duration first_pause;
  const Duration max_pause;

  Mutex mutex;
  std::vector<Peer> peers KVFERRY_GUARDED_BY(mutex);
  bool is_closed KVFERRY_GUARDED_BY(mutex) = false;
  size_t num_running KVFERRY_GUARDED_BY(mutex) = 0;
  std::function<void()> on_closed KVFERRY_GUARDED_BY(mutex);

  State(const BackendContext& backend, PeerExchange& peer_exchange, const PeerOptions& options)
      : context(backend),
        exchange(peer_exchange),
        first_pause(options.first_pause),
        max_pause(options.max_pause) {
    for (const PeerAddress& address : options.peers) peers.push_back({.address = address});
  }

  void log_unreachable(const PeerAddress& address, const Status& cause) const {
    if (context.logger == nullptr) return;
    context.logger->log(LogLevel::kWarn, "peer_unreachable peer=" + address.name +
                                             " at=" + address.host + ":" +
                                             std::to_string(address.port) + " cause=\"" +
                                             cause.to_string() + "\" backend=" + context.name);
  }
};

PeerConnections::PeerConnections(const BackendContext& context, PeerExchange& exchange,
                                 const PeerOptions& options)
    : state_(std::make_shared<State>(context, exchange, options)) {}

void PeerConnections::start() {
  state_->exchange.set_lost_handler([state = state_](const std::string& name) {
    size_t lost = 0;
    {
      MutexLock lock(state->mutex);
      const auto found = std::ranges::find_if(
          state->peers, [&](const State::Peer& peer) { return peer.address.name == name; });
      if (found == state->peers.end()) return;  // it connects to us, not we to it
      lost = static_cast<size_t>(found - state->peers.begin());
      found->was_lost = found->is_busy;
    }
    try_soon(state, lost);
  });
  size_t count = 0;
  {
    MutexLock lock(state_->mutex);
    count = state_->peers.size();
  }
  for (size_t i = 0; i < count; ++i) try_soon(state_, i);
}

void PeerConnections::try_soon(const std::shared_ptr<State>& state, size_t peer) {
  {
    MutexLock lock(state->mutex);
    State::Peer& what = state->peers[peer];
    if (state->is_closed || what.is_busy) return;
    what.is_busy = true;
    what.pause = state->first_pause;
    ++state->num_running;
  }
  state->context.work_pool->submit([state, peer] { attempt(state, peer); });
}

void PeerConnections::try_later(const std::shared_ptr<State>& state, size_t peer, Duration pause) {
  Executor& executor = *state->context.executor;
  executor.post_at(executor.clock().now() + pause, [state, peer] {
    {
      MutexLock lock(state->mutex);
      if (state->is_closed) return;
      ++state->num_running;
    }
    state->context.work_pool->submit([state, peer] { attempt(state, peer); });
  });
}

void PeerConnections::attempt(const std::shared_ptr<State>& state, size_t peer) {
  PeerAddress address;
  bool is_wanted = false;
  {
    MutexLock lock(state->mutex);
    address = state->peers[peer].address;
    state->peers[peer].was_lost = false;
    is_wanted = !state->is_closed;
  }
  if (is_wanted) judge(state, peer, state->exchange.connect(address));
  std::function<void()> on_closed;
  {
    MutexLock lock(state->mutex);
    if (--state->num_running == 0) on_closed = std::exchange(state->on_closed, nullptr);
  }
  if (on_closed) on_closed();  // of what the context points to nothing is used any more
}

void PeerConnections::judge(const std::shared_ptr<State>& state, size_t peer,
                            const Status& status) {
  PeerAddress address;
  bool is_news = false;
  bool tries_again = false;
  Duration pause{};
  {
    MutexLock lock(state->mutex);
    State::Peer& what = state->peers[peer];
    tries_again = !status.is_ok() || what.was_lost;
    what.is_busy = tries_again;
    pause = what.pause;
    what.pause = status.is_ok() ? state->first_pause : std::min(2 * what.pause, state->max_pause);
    is_news = !status.is_ok() && !what.is_reported && !state->is_closed;
    what.is_reported = !status.is_ok();
    address = what.address;
  }
  if (is_news) state->log_unreachable(address, status);
  if (tries_again) try_later(state, peer, pause);
}

void PeerConnections::close(std::function<void()> on_closed) {
  {
    MutexLock lock(state_->mutex);
    state_->is_closed = true;
    if (state_->num_running > 0) {
      state_->on_closed = std::move(on_closed);
      return;
    }
  }
  on_closed();
}

}  // namespace kvferry
