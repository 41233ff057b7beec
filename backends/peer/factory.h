#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "kvferry/peer_exchange.h"
#include "kvferry/storage_backend.h"

namespace kvferry {

/// Which engines are asked for chunks, and which one is given some.
struct PeerOptions {
  std::vector<PeerAddress> peers;  ///< in the order in which they are asked
  /// The one of them that puts go to which name no peer. Empty: none.
  std::string push_to;
  Duration timeout = std::chrono::seconds(2);  ///< of an answer, and of a chunk that is pushed
  /// Between attempts to reach a peer; doubled each time.
  Duration first_pause = std::chrono::milliseconds(100);
  Duration max_pause = std::chrono::seconds(10);
};

/// The memory of other engines as a tier.
///
/// contains() and get() ask the connected peers in their order; a chunk that one says it holds and
/// then does not, or gives with wrong bytes, is looked for at the next one. No connected peer:
/// kUnavailable at once. Before a put contains() asks `push_to` alone.
///
/// A put goes to the peer that its TransferSpec names, else to `push_to`, which fetches the chunk
/// unless it has one like it, and keeps it in its memory; both may evict it at any time. With
/// neither there is nothing to do, and it ends OK. A remove takes chunks out of the memory of
/// `push_to` only: what is in others' is theirs. There are no pins.
///
/// Traits: with `push_to` it retains, and takes puts; without it does neither.
///
/// `exchange` is borrowed; the backend closes it.
///
/// Errors: kInvalidArgument for no peers, or a push_to that is none of them.
Result<std::unique_ptr<StorageBackend>> make_peer_backend(BackendContext context,
                                                          PeerExchange& exchange,
                                                          PeerOptions options);

}  // namespace kvferry
