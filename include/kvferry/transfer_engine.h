#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvferry/cache_engine_key.h"
#include "kvferry/device.h"
#include "kvferry/kv_layout.h"
#include "kvferry/logger.h"
#include "kvferry/status.h"
#include "kvferry/transfer_trace.h"
#include "kvferry/transport.h"

struct CUevent_st;  // *: cudaEvent_t

namespace kvferry {

class PeerExchange;
class PeerStore;

/// Names the tokens of one chunk: which chunk, and where in its sequence.
struct ChunkRef {
  CacheEngineKey key;
  int64_t token_begin = 0;
  int64_t token_end = 0;

  int64_t num_tokens() const { return token_end - token_begin; }
};

/// Where a chunk lies, or is to lie, in an engine's paged cache: one slot a token. A source has all
/// its tokens. A destination may skip some (negative slots); no slot is there twice, nor that of a
/// chunk that is fetched at the same time: they would overwrite one another.
struct PagedChunk {
  const KVLayout* layout = nullptr;  ///< borrowed until the transfer ends
  std::vector<int64_t> slots;
  /// Of pages on a CUDA device, a cudaEvent_t or null: as last recorded when the transfer begins,
  /// the engine's work that writes a source, or still uses a destination, ends before it. The event
  /// outlives the transfer.
  CUevent_st* after = nullptr;
};

/// Hands out chunks that peers ask for. Implemented by the engine that holds them.
///
/// Threads: called on the engine's control executor; must not block.
class ChunkProvider {
 public:
  virtual ~ChunkProvider() = default;

  /// The pages of `ref`, unchanged until close_chunk(ref).
  /// Errors: kNotFound when it is not held (any more): the peer is told so.
  virtual Result<PagedChunk> open_chunk(const ChunkRef& ref) = 0;
  /// Ends one successful open_chunk: nobody reads those pages any more.
  virtual void close_chunk(const ChunkRef& ref) = 0;
};

/// One fragment after its digest and before it is offered.
struct StagedFragment {
  const ChunkRef& ref;
  int32_t index = 0;
  int32_t count = 0;  ///< fragments of the chunk
  std::span<std::byte> bytes;
};

/// Fault injection, for tests and the demo: may change the bytes. Runs on the data executor. Not
/// called for staging in device memory, which host code cannot touch.
using StagedFragmentHook = std::function<void(const StagedFragment&)>;

struct TransferEngineOptions {
  /// What peers call this engine in fetch() and in logs, unlike any other of theirs; 1 to 256
  /// bytes of plain ASCII.
  std::string name;
  /// Shared secret; both sides must have the same; 1 to 256 bytes. It never travels.
  std::string token;
  /// Where all pages lie that this engine serves and fetches to. Of a CUDA device, staging and
  /// landing memory lie there too if the transport moves that, else in pinned host memory.
  Device device = {};
  size_t chunk_bytes = 0;     ///< the largest chunk in memory
  size_t staging_chunks = 4;  ///< source side: chunks gathered and not yet acknowledged, at most
  size_t landing_chunks = 4;  ///< destination side: chunks granted and not yet verified, at most
  /// Of each of the two, what one peer may hold. 0: all but one for each other peer that holds none
  /// (half of them at most), so that a slow peer stops nobody else.
  size_t max_peer_chunks = 0;
  int64_t fragment_bytes = 1024 * 1024;
  /// UCX between processes, or loopback between engines that share the object given here.
  std::shared_ptr<Transport> transport;
  /// Take no better path to a peer than this one; for tests and comparisons.
  PeerClass best_path = PeerClass::kSameProcess;
  /// A chunk that fails verification is fetched again, so often at most.
  int max_refetches = 3;
  Duration handshake_timeout = std::chrono::seconds(5);  ///< above 0, 24 hours at most
  /// A connected peer that says nothing for so long is lost, although its process may live. Above
  /// 0, 24 hours at most.
  Duration silence_limit = std::chrono::seconds(5);
  /// A granted chunk of which no fragment has moved for so long, or work without any progress, ends
  /// the connection to its peer: the link is closed, which makes its memory quiet. Above 0, 24
  /// hours at most.
  Duration transfer_timeout = std::chrono::seconds(30);
  /// While so many source chunks are kept because a lost peer could still read them, nothing new is
  /// offered (what was under way when it was lost may pass the number). 0: half of staging_chunks.
  /// More than staging_chunks: as many.
  size_t max_quarantined_chunks = 0;
  /// Stages of transfers that are kept for trace() and for the log of a failed one, about 200 bytes
  /// each; the oldest make room. 0: none.
  size_t trace_events = 8192;
  Logger* logger = nullptr;  ///< borrowed; null: no log
  StagedFragmentHook staged_fragment_hook = nullptr;
};

/// One chunk that is wanted, and the pages to put it into.
struct FetchItem {
  ChunkRef ref;
  PagedChunk destination;
};

/// Names a fetch of one engine; never 0, never used again.
using FetchId = uint64_t;

/// What goes first where memory is short. One that was passed over eight times in a row
/// comes next, so that none starves.
enum class FetchPriority : uint8_t {
  kForeground,  ///< a request waits for it
  kPrefetch,    ///< a request will want it
  kBackground,  ///< copies to keep
};

/// What a fetch brought.
struct FetchSummary {
  size_t verified = 0;         ///< items that arrived
  size_t verified_prefix = 0;  ///< the first so many of its items all arrived
};

struct FetchOptions {
  FetchPriority priority = FetchPriority::kForeground;
  /// Items that have not arrived by then end kDeadlineExceeded. 0: no limit of their own.
  Duration timeout = Duration::zero();
  /// Runs on the control executor once per item, when its pages are complete and verified (OK) or
  /// will not be (then they are undefined and must not be used). Must not block.
  std::function<void(size_t item, const Status& status)> on_chunk = nullptr;
  /// Runs once, after the last on_chunk. Items are asked for in their order, so that a fetch that
  /// is ended early has a prefix.
  std::function<void(const FetchSummary& summary)> on_done = nullptr;
};

/// A connected peer.
struct PeerInfo {
  std::string name;
  PeerClass peer_class = PeerClass::kNetwork;
  std::string path;  ///< how it is reached: "ucx tcp,cma,self; receiver pulls"
};

struct TransferStats {
  uint64_t chunks_sent = 0;
  uint64_t chunks_received = 0;    ///< verified and published
  uint64_t chunks_mismatched = 0;  ///< failed verification
  uint64_t chunks_refetched = 0;
  uint64_t bytes_received = 0;
  uint64_t leases_active = 0;
  uint64_t quarantined_chunks = 0;
  uint64_t quarantined_bytes = 0;
  std::vector<std::string> mismatched_keys;  ///< the first 16,384
};

/// One process's end of chunk transfers: pools, the control connection, leases, verification.
///
/// Chunks are moved fragment by fragment, verified where they are scattered, and published only
/// when all of a chunk is verified (promise 1); memory is reused only after the peer's
/// acknowledgement or its death (promise 2).
///
/// Threads: any thread, internally serialised. Callbacks come on the control executor.
class KVFERRY_EXPORT TransferEngine {
 public:
  /// Starts the control and data threads and allocates both pools.
  /// Errors: kInvalidArgument naming the option; kResourceExhausted; with a CUDA device also
  ///   kUnimplemented (built without CUDA) and what CUDA says.
  static Result<std::unique_ptr<TransferEngine>> create(TransferEngineOptions options);
  /// Ends every transfer (kCancelled), then every thread.
  ~TransferEngine();
  TransferEngine(const TransferEngine&) = delete;
  TransferEngine& operator=(const TransferEngine&) = delete;

  /// Accepts peers on `host` (loopback unless you mean it); port 0 picks a free one.
  /// Returns the port. Errors: kUnavailable or kPermissionDenied with the errno; kInvalidArgument
  ///   for a host that does not resolve; kFailedPrecondition if it listens already.
  Result<uint16_t> listen(const std::string& host, uint16_t port);

  /// Connects and shakes hands; blocks up to the handshake timeout. Returns the peer's name.
  /// Errors: kUnavailable, kPermissionDenied (token), kDeadlineExceeded, kAlreadyExists (the peer
  ///   has one of our name, or we one of its; it may be the peer itself, that connects to us at the
  ///   same moment: see peers()), kInvalidArgument (host), kFailedPrecondition (version, transport,
  ///   or no path that both sides can use).
  Result<std::string> connect(const std::string& host, uint16_t port);

  /// Serves chunks to whoever fetches; `provider` is borrowed until the engine ends.
  void serve(ChunkProvider* provider);

  /// Shares chunks in memory with every peer, and keeps those that peers push; `store` is borrowed
  /// until the engine ends.
  void share(PeerStore* store);

  /// Chunks from memory to memory; ends with the engine.
  PeerExchange& exchange();

  /// Fetches chunks from the peer of that name. All errors come through on_chunk; kInvalidArgument:
  ///   a range without tokens, or a slot that is there twice.
  FetchId fetch(const std::string& peer, std::vector<FetchItem> items, FetchOptions options);

  /// Ends the items of a fetch that have not arrived (kCancelled). As always, an item's pages are
  /// quiet when on_chunk has it. Does nothing to a fetch that has ended.
  void cancel(FetchId fetch);

  /// Runs when a peer's connection ends, after every transfer with it has ended.
  void set_peer_lost_handler(std::function<void(const std::string& peer, const Status&)> handler);

  std::vector<PeerInfo> peers() const;

  TransferStats stats() const;

  /// What the last transfers went through, oldest first.
  std::vector<TransferEvent> trace() const;

 private:
  class Impl;
  explicit TransferEngine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvferry
