#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/paged_copy.h"
#include "kvferry/clock.h"
#include "kvferry/status.h"
#include "kvferry/transport.h"
#include "workload/engine/paged_kv_cache.h"

namespace kvferry {

enum class WireSide : uint8_t {
  kSender,    ///< prefill
  kReceiver,  ///< decode
};

/// What a round moves its bytes with. Rounds that judge one another use the same pieces and rings.
enum class WireRoundKind : uint8_t {
  kLink,          ///< our Link and executor, the runtime's headers; pieces are not looked at
  kBareWire,      ///< UCX alone, spinning; the ceiling of kLink
  kBarePipeline,  ///< gather | UCX alone | scatter, no digests; the ceiling of end to end
};

/// As in logs and JSON: "bare_pipeline".
std::string_view wire_round_kind_name(WireRoundKind kind);

struct WireMeterOptions {
  int64_t fragment_bytes =
      512 * 1024;          ///< cut to what a link's header has room for, as the runtime does
  size_t ring_chunks = 4;  ///< staging at the sender, landing at the receiver
  /// Most bytes offered and not pulled yet; 0: the whole ring. Less stays in cache.
  int64_t window_bytes = 0;
  StoreHint staging_store = StoreHint::kCached;  ///< of the bare pipeline's gather
  Duration timeout = std::chrono::seconds(10);   ///< of one round
  uint64_t seed = 1;                             ///< of the order of blocks
};

/// One round on one side.
struct WireRound {
  int64_t bytes = 0;
  /// Receiver: from the first offer seen to the last piece complete. Sender: its own whole round.
  double seconds = 0;
  double gather_seconds = 0;   ///< kBarePipeline, sender: of `seconds`
  double scatter_seconds = 0;  ///< kBarePipeline, receiver: of `seconds`

  double gbps() const { return seconds > 0 ? static_cast<double>(bytes) / seconds / 1e9 : 0; }
};

/// One process's end of wire measurements: our Link, on an executor of its own, beside a bare UCX
/// pipe, and the two rings that both use.
///
/// Make one on each side with equal models and options, swap address(), connect() both, then let
/// both sides run the same rounds in the same order. What a round measures is what its receiver
/// returns. The bare pipeline walks through both caches, which must be scratch.
///
/// Threads: any thread, caller serialises. Between rounds the executor sleeps.
/// Owner:   borrows transport and cache
class WireMeter {
 public:
  /// Errors: kInvalidArgument if the cache is smaller than one chunk or an option is not positive;
  ///   kResourceExhausted; what the transport says of this class of peers.
  static Result<std::unique_ptr<WireMeter>> create(WireSide side, Transport& transport,
                                                   PeerClass peer_class, const PagedKVCache& cache,
                                                   const WireMeterOptions& options = {});
  ~WireMeter();
  WireMeter(const WireMeter&) = delete;
  WireMeter& operator=(const WireMeter&) = delete;

  /// Of the link and of the bare pipe, in one: bytes, not text.
  std::string address() const;

  /// Errors: kInvalidArgument if it is no such address; kFailedPrecondition when connected already;
  ///   what link and pipe say.
  Status connect(std::string_view peer_address);

  /// Moves whole chunks, at least one, as many as `bytes` need.
  ///
  /// Errors: kInvalidArgument if bytes < 1; kFailedPrecondition if not connected; kUnimplemented
  ///   for bare rounds in a build without UCX; kDeadlineExceeded or kUnavailable without the peer;
  ///   kDataLoss when pieces are not those that were expected. After an error: no further round.
  Result<WireRound> run_round(WireRoundKind kind, int64_t bytes);

  /// "ucx tcp,cma,self; receiver pulls"
  const std::string& path() const;

 private:
  class Impl;
  explicit WireMeter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvferry
