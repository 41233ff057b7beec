#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "kvferry/executor.h"
#include "kvferry/status.h"

namespace kvferry {

/// Where a peer is, as far as the choice of a path to it goes. Decided by the runtime per peer,
/// from what both sides found out about one another.
enum class PeerClass : uint8_t {
  kSameProcess,   ///< another executor of this process
  kSameHostPull,  ///< same host, and each may read the other's memory (CMA)
  kSameHostShm,   ///< same host, reading one another's memory is refused
  kNetwork,       ///< another host
};

/// As in logs and configuration: "same_host_pull".
constexpr std::string_view peer_class_name(PeerClass peer_class) {
  switch (peer_class) {
    case PeerClass::kSameProcess:
      return "same_process";
    case PeerClass::kSameHostPull:
      return "same_host_pull";
    case PeerClass::kSameHostShm:
      return "same_host_shm";
    case PeerClass::kNetwork:
      return "network";
  }
  return "unknown";
}

/// What a link can do here.
struct LinkCapabilities {
  bool device_memory = false;  ///< sources and destinations may be device memory
  /// After close() the peer cannot read a source any more. False where the peer pulls by itself
  /// (CMA): then only its acknowledgement or its death frees a source.
  bool fences_sources = false;
  bool detects_peer_death = false;  ///< by itself; the control connection does so anyway
  size_t max_header_bytes = 0;
  std::string path;  ///< for people: "ucx tcp,cma,self; receiver pulls"
};

/// Ends of an operation. Status says how it ended; called exactly once, on the link's executor.
using LinkCompletion = std::function<void(Status)>;

struct AcceptOffer {
  std::span<std::byte> destination;  ///< at least as large as the offered source
  LinkCompletion on_received;        ///< destination is complete, or failed; quiet either way
};
struct RefuseOffer {
  StatusCode code = StatusCode::kFailedPrecondition;
};
using OfferReply = std::variant<AcceptOffer, RefuseOffer>;

/// Decides about one incoming offer; `header` is valid during the call only.
using OfferHandler =
    std::function<OfferReply(std::span<const std::byte> header, size_t payload_bytes)>;

/// The data path to one peer: two-sided, the receiver names the destination.
///
/// A link owns everything that its peer can touch or stall, so that the end of one peer never
/// disturbs another. It moves bytes and nothing else: leases, acknowledgements and verification
/// are the runtime's, once for all transports.
///
/// Threads: the executor it was opened on only; callbacks come on it too. No callback comes from
///   inside offer() or close().
class Link {
 public:
  /// For after on_quiet, which may itself destroy the link; not from inside other callbacks. A link
  /// destroyed earlier first makes sure that this side touches no memory given to it any more
  /// (which may wait for a copy under way), then drops its callbacks uncalled.
  virtual ~Link() = default;

  /// What the peer's connect() needs; opaque, at most 64 KiB.
  virtual std::string address() const = 0;

  /// Nothing arrives before this call: what the peer offers earlier waits for it.
  ///
  /// Errors: kInvalidArgument for an address of another transport or path; kUnavailable;
  ///   kFailedPrecondition without an offer handler, when connected already, or when closed.
  virtual Status connect(std::string_view peer_address) = 0;

  /// Must be set before connect(). Called once for each offer that arrives.
  virtual void set_offer_handler(OfferHandler handler) = 0;

  /// Offers `source` with a `header` (at most max_header_bytes) to the peer.
  ///
  /// `on_sent` with OK: the transport needs `source` no more. That is not delivery: only the
  /// peer's own acknowledgement is. Otherwise: kUnavailable (peer gone), kCancelled (closed),
  /// kFailedPrecondition (not connected; or refused, where the transport can tell),
  /// kInvalidArgument (header too large). `header` is copied; `source` is borrowed until `on_sent`.
  virtual void offer(std::span<const std::byte> header, std::span<const std::byte> source,
                     LinkCompletion on_sent) = 0;

  /// Ends the link: every open operation completes (kCancelled), then `on_quiet` runs, after which
  /// this side touches no memory given to it and calls nothing back. Idempotent.
  virtual void close(std::function<void()> on_quiet) = 0;

  virtual const LinkCapabilities& capabilities() const = 0;
};

/// A way to move bytes between peers; makes links.
///
/// Threads: any thread for is_available; open_link on the executor that will own the link.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual std::string_view name() const = 0;

  /// OK if peers of this class can be served here, else why not and what to do.
  virtual Status is_available(PeerClass peer_class) const = 0;

  /// Whether its links take sources and destinations in the memory of CUDA devices; asked of the
  /// libraries and devices here, not assumed. Where false, none may be shown to them.
  virtual bool moves_device_memory() const { return false; }

  /// `executor` is borrowed and must outlive the link.
  virtual Result<std::unique_ptr<Link>> open_link(PeerClass peer_class, Executor& executor) = 0;
};

}  // namespace kvferry
