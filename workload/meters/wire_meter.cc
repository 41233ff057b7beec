#include "workload/meters/wire_meter.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "runtime/steady_clock.h"
#include "runtime/transfer/chunk_transfer.h"
#include "workload/meters/chunk_ring.h"
#include "workload/meters/chunk_walk.h"
#include "workload/meters/link_rounds.h"
#if KVFERRY_HAVE_UCX
#include "transports/ucx/factory.h"
#include "workload/meters/bare_ucx_pipe.h"
#endif

namespace kvferry {
namespace {

#if KVFERRY_HAVE_UCX
/// The transports that the runtime takes to such a peer.
std::string bare_tls(PeerClass peer_class) {
  const UcxOptions options;
  switch (peer_class) {
    case PeerClass::kSameHostShm:
      return options.same_host_shm.tls;
    case PeerClass::kNetwork:
      return options.network.tls.empty() ? "tcp,self" : options.network.tls;
    case PeerClass::kSameProcess:
    case PeerClass::kSameHostPull:
      break;
  }
  return options.same_host_pull.tls;
}
#endif

Status check_options(const WireMeterOptions& options) {
  if (options.fragment_bytes >= 1 && options.ring_chunks >= 1 && options.window_bytes >= 0)
    return {};
  return {StatusCode::kInvalidArgument,
          "wire meter: fragment_bytes " + std::to_string(options.fragment_bytes) +
              ", ring_chunks " + std::to_string(options.ring_chunks) + ", window_bytes " +
              std::to_string(options.window_bytes) +
              "; the first two are at least 1, the last at least 0"};
}

/// Length of the link's address (4 bytes, little-endian), the link's, the bare pipe's.
std::string join_addresses(const std::string& link, const std::string& pipe) {
  std::string joined;
  for (int byte = 0; byte < 4; ++byte)
    joined += static_cast<char>(link.size() >> (8 * byte) & 0xff);
  return joined + link + pipe;
}

Result<std::pair<std::string_view, std::string_view>> split_addresses(std::string_view joined) {
  size_t link_bytes = 0;
  for (size_t byte = 0; byte < std::min<size_t>(joined.size(), 4); ++byte) {
    link_bytes |= static_cast<size_t>(static_cast<unsigned char>(joined[byte])) << (8 * byte);
  }
  if (joined.size() < 4 || joined.size() - 4 < link_bytes) {
    return make_error(StatusCode::kInvalidArgument,
                      "a wire meter's address of " + std::to_string(joined.size()) +
                          " bytes is cut; hand on the whole of the peer's address()");
  }
  return std::pair(joined.substr(4, link_bytes), joined.substr(4 + link_bytes));
}

}  // namespace

std::string_view wire_round_kind_name(WireRoundKind kind) {
  switch (kind) {
    case WireRoundKind::kLink:
      return "link";
    case WireRoundKind::kBareWire:
      return "bare_wire";
    case WireRoundKind::kBarePipeline:
      return "bare_pipeline";
  }
  return "unknown";
}

class WireMeter::Impl {
 public:
  Impl(WireSide side, const WireMeterOptions& options, std::unique_ptr<LinkRounds> link,
       std::unique_ptr<ChunkWalk> walk, ChunkRing ring)
      : side_(side),
        options_(options),
        walk_(std::move(walk)),
        ring_(std::move(ring)),
        link_(std::move(link)) {
    int64_t largest = 1;
    for (const Fragment& fragment : walk_->fragments()) {
      largest = std::max(largest, fragment.size_bytes);
    }
    depth_ = ring_.num_pieces();
    if (options_.window_bytes > 0) {
      depth_ = std::clamp<int64_t>(options_.window_bytes / largest, 1, depth_);
    }
  }

  Status open_pipe(PeerClass peer_class);
  std::string address() const;
  Status connect(std::string_view peer_address);
  Result<WireRound> run_round(WireRoundKind kind, int64_t bytes);
  const std::string& path() const { return link_->capabilities().path; }

 private:
  Result<WireRound> run_link(int64_t count);
  Result<WireRound> run_bare(int64_t count, bool with_pages);
  void copy_fragment(int64_t piece, WireRound& round);

  const WireSide side_;
  const WireMeterOptions options_;
  const SteadyClock clock_;
  const std::unique_ptr<ChunkWalk> walk_;  // where the ring borrows it
  const ChunkRing ring_;
  int64_t depth_ = 0;      // pieces
  size_t next_chunk_ = 0;  // of the walk
  Status copy_failure_;
  bool connected_ = false;
  bool failed_ = false;
  // Last, so that they end before the ring does.
  const std::unique_ptr<LinkRounds> link_;
#if KVFERRY_HAVE_UCX
  std::unique_ptr<BareUcxPipe> pipe_;
#endif
};

Status WireMeter::Impl::open_pipe([[maybe_unused]] PeerClass peer_class) {
#if KVFERRY_HAVE_UCX
  KVFERRY_ASSIGN_OR_RETURN(pipe_, BareUcxPipe::create({.peer_class = peer_class,
                                                       .tls = bare_tls(peer_class),
                                                       .timeout = options_.timeout}));
#endif
  return {};
}

std::string WireMeter::Impl::address() const {
#if KVFERRY_HAVE_UCX
  return join_addresses(link_->address(), pipe_->address());
#else
  return join_addresses(link_->address(), "");
#endif
}

Status WireMeter::Impl::connect(std::string_view peer_address) {
  if (connected_) {
    return {StatusCode::kFailedPrecondition, "the wire meter is connected already"};
  }
  KVFERRY_ASSIGN_OR_RETURN(const auto addresses, split_addresses(peer_address));
#if KVFERRY_HAVE_UCX
  KVFERRY_RETURN_IF_ERROR(pipe_->connect(addresses.second));
#endif
  KVFERRY_RETURN_IF_ERROR(link_->connect(addresses.first, ring_));
  connected_ = true;
  return {};
}

Result<WireRound> WireMeter::Impl::run_round(WireRoundKind kind, int64_t bytes) {
  if (bytes < 1) {
    return make_error(StatusCode::kInvalidArgument,
                      "a wire round of " + std::to_string(bytes) + " bytes; at least 1");
  }
  if (!connected_ || failed_) {
    return make_error(StatusCode::kFailedPrecondition,
                      connected_ ? "an earlier wire round ended in an error; make new meters"
                                 : "the wire meter is not connected; call connect first");
  }
  const auto chunk_bytes = static_cast<int64_t>(walk_->chunk_bytes());
  const int64_t num_chunks = bytes / chunk_bytes + (bytes % chunk_bytes == 0 ? 0 : 1);
  const int64_t count = num_chunks * ring_.pieces_per_chunk();
  Result<WireRound> round = kind == WireRoundKind::kLink
                                ? run_link(count)
                                : run_bare(count, kind == WireRoundKind::kBarePipeline);
  if (!round) {
    failed_ = true;
    return make_error(
        round.error().with_context("wire round " + std::string(wire_round_kind_name(kind))));
  }
  return round;
}

Result<WireRound> WireMeter::Impl::run_link(int64_t count) {
  const TimePoint deadline = clock_.now() + options_.timeout;
  KVFERRY_ASSIGN_OR_RETURN(const LinkRounds::Moved moved, side_ == WireSide::kSender
                                                              ? link_->send(count, depth_, deadline)
                                                              : link_->receive(count, deadline));
  return WireRound{.bytes = moved.bytes, .seconds = moved.seconds};
}

Result<WireRound> WireMeter::Impl::run_bare([[maybe_unused]] int64_t count,
                                            [[maybe_unused]] bool with_pages) {
#if KVFERRY_HAVE_UCX
  WireRound round;
  BareUcxPipe::Moved moved;
  if (side_ == WireSide::kSender) {
    KVFERRY_ASSIGN_OR_RETURN(moved, pipe_->send(count, depth_, [&](int64_t piece) {
      if (with_pages) copy_fragment(piece, round);
      return std::span<const std::byte>(ring_.piece(piece));
    }));
  } else {
    KVFERRY_ASSIGN_OR_RETURN(moved, pipe_->receive(
                                        count, [&](int64_t piece) { return ring_.piece(piece); },
                                        [&](int64_t piece) {
                                          if (with_pages) copy_fragment(piece, round);
                                        }));
  }
  if (with_pages) next_chunk_ += ring_.chunk_of(count);
  KVFERRY_RETURN_IF_ERROR(copy_failure_);
  round.bytes = moved.bytes;
  round.seconds = moved.seconds;
  return round;
#else
  return make_error(StatusCode::kUnimplemented,
                    "this build has no UCX, whose bare speed was asked for; build with UCX");
#endif
}

/// Pages to ring at the sender, ring to pages at the receiver; no digests.
void WireMeter::Impl::copy_fragment(int64_t piece, WireRound& round) {
  const PagedCopy& copy = walk_->chunk(next_chunk_ + ring_.chunk_of(piece));
  const Fragment& fragment = ring_.fragment_of(piece);
  const std::span<std::byte> chunk = ring_.chunk(ring_.chunk_of(piece));
  const TimePoint start = clock_.now();
  Status status = side_ == WireSide::kSender
                      ? gather(copy, fragment.plane_begin, fragment.plane_end, chunk, {},
                               {.store = options_.staging_store})
                      : scatter(copy, fragment.plane_begin, fragment.plane_end, chunk, {},
                                {.store = StoreHint::kStreaming});
  const double seconds = std::chrono::duration<double>(clock_.now() - start).count();
  (side_ == WireSide::kSender ? round.gather_seconds : round.scatter_seconds) += seconds;
  if (copy_failure_.is_ok()) copy_failure_ = std::move(status);
}

Result<std::unique_ptr<WireMeter>> WireMeter::create(WireSide side, Transport& transport,
                                                     PeerClass peer_class,
                                                     const PagedKVCache& cache,
                                                     const WireMeterOptions& options) {
  KVFERRY_RETURN_IF_ERROR(check_options(options));
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<LinkRounds> link,
                           LinkRounds::open(transport, peer_class));
  const int64_t fragment_bytes = fit_fragment_bytes(cache.layout(), options.fragment_bytes,
                                                    link->capabilities().max_header_bytes);
  KVFERRY_ASSIGN_OR_RETURN(ChunkWalk made_walk,
                           ChunkWalk::create(cache, fragment_bytes, options.seed));
  auto walk = std::make_unique<ChunkWalk>(std::move(made_walk));
  KVFERRY_ASSIGN_OR_RETURN(ChunkRing ring, ChunkRing::create(*walk, options.ring_chunks));
  auto impl =
      std::make_unique<Impl>(side, options, std::move(link), std::move(walk), std::move(ring));
  KVFERRY_RETURN_IF_ERROR(impl->open_pipe(peer_class));
  return std::unique_ptr<WireMeter>(new WireMeter(std::move(impl)));
}

WireMeter::WireMeter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WireMeter::~WireMeter() = default;

std::string WireMeter::address() const { return impl_->address(); }
Status WireMeter::connect(std::string_view peer_address) { return impl_->connect(peer_address); }
Result<WireRound> WireMeter::run_round(WireRoundKind kind, int64_t bytes) {
  return impl_->run_round(kind, bytes);
}
const std::string& WireMeter::path() const { return impl_->path(); }

}  // namespace kvferry
