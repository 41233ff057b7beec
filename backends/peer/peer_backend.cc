#include "backends/peer/peer_backend.h"

#include <algorithm>
#include <utility>

#include "backends/peer/peer_get.h"

namespace kvferry {

/// One contains: what no peer asked so far holds goes to the next one.
struct PeerBackend::Search {
  std::vector<CacheEngineKey> keys;
  std::vector<std::string> peers;
  std::vector<size_t> open;  ///< items that no peer said to hold
  size_t next_peer = 0;
  bool was_answered = false;
  ContainsDone done;
};

Result<std::unique_ptr<StorageBackend>> make_peer_backend(BackendContext context,
                                                          PeerExchange& exchange,
                                                          PeerOptions options) {
  const auto invalid = [](const std::string& what) {
    return make_error(StatusCode::kInvalidArgument, "tier of peers: " + what);
  };
  if (options.peers.empty()) return invalid("none is named; set peers");
  const bool pushes = !options.push_to.empty();
  if (pushes && std::ranges::find(options.peers, options.push_to, &PeerAddress::name) ==
                    options.peers.end()) {
    return invalid("peer_push '" + options.push_to + "' is none of peers; add it there");
  }
  const BackendTraits traits = {.retains = pushes,
                                .pins = false,
                                .persists = false,
                                .is_memory = false,
                                .takes_puts = pushes};
  auto backend =
      std::make_unique<PeerBackend>(std::move(context), traits, exchange, std::move(options));
  backend->start();
  return backend;
}

PeerBackend::PeerBackend(BackendContext context, BackendTraits traits, PeerExchange& exchange,
                         PeerOptions options)
    : StorageBackend(std::move(context), traits),
      exchange_(exchange),
      options_(std::move(options)),
      connections_(this->context(), exchange, options_) {}

// ---- contains

void PeerBackend::do_contains(std::span<const CacheEngineKey> keys, ContainsDone done) {
  std::vector<std::string> peers;
  for (const PeerAddress& peer : options_.peers) peers.push_back(peer.name);
  search(keys, std::move(peers), std::move(done));
}

void PeerBackend::do_contains_for_put(std::span<const CacheEngineKey> keys, ContainsDone done) {
  if (options_.push_to.empty()) return do_contains(keys, std::move(done));
  search(keys, {options_.push_to}, std::move(done));
}

void PeerBackend::search(std::span<const CacheEngineKey> keys, std::vector<std::string> peers,
                         ContainsDone done) {
  const auto search = std::make_shared<Search>();
  search->keys.assign(keys.begin(), keys.end());
  search->peers = std::move(peers);
  for (size_t i = 0; i < keys.size(); ++i) search->open.push_back(i);
  search->done = std::move(done);
  ask_next(search);
}

// The last item's end may be the backend's: nothing of it is touched after that.
void PeerBackend::ask_next(const std::shared_ptr<Search>& search) {
  const std::vector<size_t> open = search->open;
  if (open.empty()) return;
  if (search->next_peer == search->peers.size()) {
    for (const size_t item : open) {
      search->done(item, search->was_answered
                             ? Result<bool>(false)
                             : make_error(StatusCode::kUnavailable, "no peer has answered"));
    }
    return;
  }
  std::vector<CacheEngineKey> keys;
  keys.reserve(open.size());
  for (const size_t item : open) keys.push_back(search->keys[item]);
  const std::string& peer = search->peers[search->next_peer++];
  exchange_.ask(peer, std::move(keys), PeerQuestion::kHolds, options_.timeout,
                [this, search](Result<std::vector<bool>> answers) {
                  on_answers(search, std::move(answers));
                });
}

void PeerBackend::on_answers(const std::shared_ptr<Search>& search,
                             Result<std::vector<bool>> answers) {
  std::vector<size_t> held;
  if (answers) {
    search->was_answered = true;
    std::vector<size_t> missing;
    for (size_t i = 0; i < search->open.size(); ++i) {
      ((*answers)[i] ? held : missing).push_back(search->open[i]);
    }
    search->open = std::move(missing);
  }
  const bool goes_on = !search->open.empty();
  for (const size_t item : held) search->done(item, true);
  if (goes_on) ask_next(search);
}

// ---- the rest

void PeerBackend::do_put(std::span<const CacheEngineKey> keys, std::span<const MemoryObjPtr> objs,
                         const TransferSpec& spec, PutDone done) {
  const std::string& peer = spec.peer.empty() ? options_.push_to : spec.peer;
  if (peer.empty()) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, Status());
    return;
  }
  exchange_.push(peer, {keys.begin(), keys.end()}, {objs.begin(), objs.end()}, options_.timeout,
                 std::move(done));
}

void PeerBackend::do_get(std::span<const CacheEngineKey> keys, const GetOptions& options,
                         GetDone done) {
  std::make_shared<PeerGet>(context(), exchange_, options_.peers, options, std::move(done))
      ->start(keys);
}

void PeerBackend::do_remove(std::span<const CacheEngineKey> keys, bool force, RemoveDone done) {
  if (options_.push_to.empty()) {
    for (size_t i = 0; i < keys.size(); ++i) done(i, false);
    return;
  }
  exchange_.ask(
      options_.push_to, {keys.begin(), keys.end()},
      force ? PeerQuestion::kRemoveForced : PeerQuestion::kRemove, options_.timeout,
      [count = keys.size(), done = std::move(done)](const Result<std::vector<bool>>& were_held) {
        for (size_t i = 0; i < count; ++i) {
          done(i, were_held ? Result<bool>((*were_held)[i]) : make_error(were_held.error()));
        }
      });
}

void PeerBackend::do_close(std::function<void()> on_closed) {
  connections_.close([this, on_closed = std::move(on_closed)]() mutable {
    exchange_.close(std::move(on_closed));
  });
}

}  // namespace kvferry
