#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kvferry/backend_context.h"
#include "kvferry/cache_config.h"
#include "kvferry/storage_backend.h"

namespace kvferry {

/// The chunks in memory that an engine shares with its peers. Implemented by whoever owns them.
///
/// Threads: the control executor of the transfer engine; must not block.
class PeerStore {
 public:
  virtual ~PeerStore() = default;

  virtual std::vector<bool> holds(std::span<const CacheEngineKey> keys) = 0;
  /// A verified chunk, which nobody changes while it is referenced; null: not held.
  virtual MemoryObjPtr find(const CacheEngineKey& key) = 0;
  /// Which of them were there.
  virtual std::vector<bool> remove(std::span<const CacheEngineKey> keys, bool force) = 0;
  /// Takes a verified chunk that a peer has pushed, in memory of allocator(), or says why not.
  virtual Status keep(const CacheEngineKey& key, const MemoryObjPtr& obj) = 0;
  virtual MemoryAllocator& allocator() = 0;
};

/// What a peer can be asked about chunks in its memory.
enum class PeerQuestion : uint8_t {
  kHolds = 0,
  kRemove = 1,        ///< what is not pinned there; the answer says what was there
  kRemoveForced = 2,  ///< pinned or not
};

/// Chunks to and from the memory of peers, by name, over whatever transport leads there.
///
/// What a fetch gives is verified against the digests it comes with. Everything ends: by its
/// timeout, or when the connection to the peer ends (kUnavailable), at once if there is none.
///
/// Threads: any thread; completions come on the control executor of the transfer engine, also from
///   inside the call, and must not block.
class PeerExchange {
 public:
  using AskDone = std::function<void(Result<std::vector<bool>> answers)>;

  virtual ~PeerExchange() = default;

  /// Connects, unless that peer is connected already, whichever side began. Blocks.
  /// Errors: those of TransferEngine::connect(); kFailedPrecondition when one of another name is
  ///   there.
  virtual Status connect(const PeerAddress& peer) = 0;
  /// Called when the connection to a peer has ended. Empty: nobody is. It takes the place of the
  /// engine's own: TransferEngine::set_peer_lost_handler.
  virtual void set_lost_handler(std::function<void(const std::string& peer)> handler) = 0;

  /// One answer for each key. Errors: kUnavailable, kDeadlineExceeded, kCancelled.
  virtual void ask(const std::string& peer, std::vector<CacheEngineKey> keys, PeerQuestion question,
                   Duration timeout, AskDone done) = 0;

  struct FetchOptions {
    GetIntent intent = GetIntent::kForeground;
    Duration timeout = Duration::zero();  ///< 0: none of its own
  };
  /// Each chunk in memory of `allocator`, with layout, tokens and digests, verified; null: the peer
  /// does not hold it. Errors: as ask(); kResourceExhausted (memory, here or there); kDataLoss
  ///   after several attempts.
  virtual void fetch(const std::string& peer, std::vector<CacheEngineKey> keys,
                     MemoryAllocator& allocator, FetchOptions options, GetDone done) = 0;

  /// Asks the peer to keep chunks, which it fetches, if it has none like them. An item ends when
  /// nobody reads its object for this push any more. Errors: as ask(); what the peer says.
  virtual void push(const std::string& peer, std::vector<CacheEngineKey> keys,
                    std::vector<MemoryObjPtr> objs, Duration timeout, PutDone done) = 0;

  /// Ends what was begun here (kCancelled), and all of it from now on; then no memory of it is
  /// touched and nothing is called. Once. The engine goes on serving, but a peer that has not let
  /// go of a chunk after 2 s loses its connection.
  /// Objects that were pushed to a peer that is lost may stay in quarantine: their pool outlives
  /// the engine.
  virtual void close(std::function<void()> on_closed) = 0;
};

}  // namespace kvferry
