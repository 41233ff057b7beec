#include "runtime/transfer/engine_exchange.h"

#include <utility>

namespace kvferry {
namespace {

// For a peer to let go of what close() has ended.
constexpr Duration kCloseGrace = std::chrono::seconds(2);

}  // namespace

/// Everything that is begun holds it: its end is the end of the last of them, on any thread.
class EngineExchange::Gate {
 public:
  explicit Gate(Executor& control) : control_(control) {}
  ~Gate() {
    if (on_gone) control_.post(std::move(on_gone));
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  std::function<void()> on_gone;

 private:
  Executor& control_;
};

EngineExchange::EngineExchange(EngineCore& core, Executor& control, Blocking blocking)
    : core_(core),
      control_(control),
      blocking_(std::move(blocking)),
      gate_(std::make_shared<Gate>(control)) {}

Status EngineExchange::connect(const PeerAddress& peer) {
  if (blocking_.is_connected(peer.name)) return {};
  const Result<std::string> name = blocking_.connect(peer.host, peer.port);
  if (name && *name == peer.name) return {};
  if (name) {
    return {StatusCode::kFailedPrecondition,
            "the engine at " + peer.host + ":" + std::to_string(peer.port) + " calls itself '" +
                *name + "', not '" + peer.name + "'; give it that name"};
  }
  // It may have connected to us at the same moment.
  return blocking_.is_connected(peer.name) ? Status() : name.error();
}

void EngineExchange::set_lost_handler(std::function<void(const std::string&)> handler) {
  control_.post([this, handler = std::move(handler)] {
    core_.set_peer_lost_handler([handler](const std::string& peer, const Status&) {
      if (handler) handler(peer);
    });
  });
}

Result<PeerSession*> EngineExchange::session_of(const std::string& peer) const {
  if (gate_ == nullptr) {
    return make_error(StatusCode::kCancelled, "the exchange with peers is closed");
  }
  if (PeerSession* const session = core_.find_ready(peer)) return session;
  return make_error(core_.not_connected(peer));
}

std::shared_ptr<void> EngineExchange::hold(const std::string& peer) {
  std::weak_ptr<void>& held = held_[peer];
  std::shared_ptr<void> hold = held.lock();
  if (!hold) held = hold = std::make_shared<std::shared_ptr<Gate>>(gate_);
  return hold;
}

void EngineExchange::ask(const std::string& peer, std::vector<CacheEngineKey> keys,
                         PeerQuestion question, Duration timeout, AskDone done) {
  control_.post([this, peer, keys = std::move(keys), question, timeout, done = std::move(done)] {
    const auto session = session_of(peer);
    if (!session) return done(make_error(session.error()));
    (*session)->exchange().ask(
        keys, question, timeout,
        [held = hold(peer), done](Result<std::vector<bool>> answers) { done(std::move(answers)); });
  });
}

void EngineExchange::fetch(const std::string& peer, std::vector<CacheEngineKey> keys,
                           MemoryAllocator& allocator, FetchOptions options, GetDone done) {
  control_.post([this, peer, keys = std::move(keys), &allocator, options, done = std::move(done)] {
    begin_fetch(peer, keys, allocator, options, done);
  });
}

void EngineExchange::begin_fetch(const std::string& peer, const std::vector<CacheEngineKey>& keys,
                                 MemoryAllocator& allocator, FetchOptions options, GetDone done) {
  const auto session = session_of(peer);
  if (!session) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, make_error(session.error()));
    return;
  }
  if (keys.empty()) return;
  const FetchId id = core_.next_object_fetch_id();
  fetches_.insert(id);
  ObjectFetchOptions fetch;
  fetch.priority = options.intent == GetIntent::kPrefetch ? FetchPriority::kPrefetch
                                                          : FetchPriority::kForeground;
  fetch.timeout = options.timeout;
  fetch.allocator = &allocator;
  fetch.keep = hold(peer);
  fetch.on_object = [this, id, open = keys.size(), done = std::move(done)](
                        size_t item, Result<MemoryObjPtr> obj) mutable {
    if (--open == 0) fetches_.erase(id);
    const bool is_miss = !obj && obj.error().code() == StatusCode::kNotFound;
    done(item, is_miss ? MemoryObjPtr() : std::move(obj));
  };
  (*session)->receiver().fetch_objects(id, keys, std::move(fetch));
}

void EngineExchange::push(const std::string& peer, std::vector<CacheEngineKey> keys,
                          std::vector<MemoryObjPtr> objs, Duration timeout, PutDone done) {
  control_.post([this, peer, keys = std::move(keys), objs = std::move(objs), timeout,
                 done = std::move(done)]() mutable {
    const auto session = session_of(peer);
    if (session) {
      (*session)->exchange().push(std::move(keys), std::move(objs), timeout, hold(peer),
                                  std::move(done));
      return;
    }
    objs.clear();
    for (size_t i = 0; i < keys.size(); ++i) done(i, session.error());
  });
}

void EngineExchange::close(std::function<void()> on_closed) {
  control_.post([this, on_closed = std::move(on_closed)] {
    core_.set_peer_lost_handler(nullptr);
    gate_->on_gone = on_closed;
    const std::shared_ptr<Gate> gate = std::exchange(gate_, nullptr);
    const Status status(StatusCode::kCancelled, "the exchange with peers is closing");
    core_.cancel_exchange(status);
    for (const FetchId id : std::set(fetches_)) core_.cancel(id);
    control_.post_at(control_.clock().now() + kCloseGrace, [this] { end_sessions_that_hold(); });
  });
}

void EngineExchange::end_sessions_that_hold() {
  for (const auto& [peer, held] : held_) {
    if (held.expired()) continue;
    PeerSession* const session = core_.find_ready(peer);
    if (session == nullptr) continue;  // it is ending
    session->close({StatusCode::kCancelled,
                    "the exchange with peers is closed, and the peer has not let go of it"});
  }
}

}  // namespace kvferry
