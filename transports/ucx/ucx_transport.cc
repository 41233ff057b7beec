#include "transports/ucx/ucx_transport.h"

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <system_error>
#include <utility>

#include "transports/ucx/ucx_link.h"
#include "transports/ucx/ucx_memory.h"

namespace kvferry {
namespace {

// Naming RDMA transports on a host without such devices makes UCX warn on stdout.
bool has_rdma_devices() {
  std::error_code error;
  const std::filesystem::directory_iterator devices("/sys/class/infiniband", error);
  return !error && devices != std::filesystem::directory_iterator();
}

UcxOptions with_defaults(UcxOptions options) {
  if (options.network.tls.empty()) {
    options.network.tls = has_rdma_devices() ? "rc,ud,tcp,self" : "tcp,self";
  }
  return options;
}

bool names(const std::string& tls, std::initializer_list<std::string_view> transports) {
  return std::ranges::any_of(transports, [&](std::string_view transport) {
    return ("," + tls + ",").find("," + std::string(transport) + ",") != std::string::npos;
  });
}

}  // namespace

std::unique_ptr<Transport> make_ucx_transport(UcxOptions options) {
  return std::make_unique<UcxTransport>(std::move(options));
}

std::string ucx_version() { return ucp_get_version_string(); }

UcxTransport::UcxTransport(UcxOptions options) : options_(with_defaults(std::move(options))) {}

UcxTransport::Cuda UcxTransport::cuda() const {
  MutexLock lock(mutex_);
  if (!cuda_) {
    const bool has_device = has_cuda_device();
    cuda_ = Cuda{
        .has_device = has_device,
        .is_in_paths = has_device && !options_.user_overrides_tls && ucx_moves_device_memory()};
  }
  return *cuda_;
}

UcxPath UcxTransport::path_of(PeerClass peer_class) const {
  UcxPath path = peer_class == PeerClass::kSameHostPull  ? options_.same_host_pull
                 : peer_class == PeerClass::kSameHostShm ? options_.same_host_shm
                                                         : options_.network;
  if (cuda().is_in_paths) {
    // cuda_ipc, by which one process reads another's device memory, is for the path that pulls: as
    // after CMA, only the peer's acknowledgement or death frees a source. On the others UCX copies
    // through host memory (RDMA devices that read device memory need no more either).
    path.tls += path.error_mode == UcxErrorMode::kNone ? ",cuda" : ",cuda_copy";
  }
  return path;
}

Result<UcxTransport::ContextPtr> UcxTransport::context_of(PeerClass peer_class) const {
  if (peer_class == PeerClass::kSameProcess) {
    return make_error(StatusCode::kUnimplemented,
                      "ucx serves peers in other processes; use loopback within one");
  }
  const UcxPath path = path_of(peer_class);
  MutexLock lock(mutex_);
  std::optional<Result<ContextPtr>>& slot = contexts_.at(static_cast<size_t>(peer_class));
  if (!slot) {
    Result<UcxContext> context = UcxContext::create(path, options_.user_overrides_tls);
    if (context) {
      slot = std::make_shared<const UcxContext>(std::move(*context));
    } else {
      slot = tl::unexpected(std::move(context).error());
    }
  }
  return *slot;
}

Status UcxTransport::is_available(PeerClass peer_class) const {
  const Result<ContextPtr> context = context_of(peer_class);
  return context ? Status() : context.error();
}

bool UcxTransport::moves_device_memory() const {
  if (!cuda().has_device) return false;
  bool moves = false;
  for (const PeerClass peer_class :
       {PeerClass::kSameHostPull, PeerClass::kSameHostShm, PeerClass::kNetwork}) {
    const Result<ContextPtr> context = context_of(peer_class);
    if (!context) continue;
    moves = (*context)->moves_device_memory();
    if (!moves) break;
  }
  return moves;
}

Result<std::unique_ptr<Link>> UcxTransport::open_link(PeerClass peer_class, Executor& executor) {
  KVFERRY_ASSIGN_OR_RETURN(ContextPtr context, context_of(peer_class));
  const UcxPath path = path_of(peer_class);
  UcxLinkOptions link;
  link.peer_class = peer_class;
  link.error_mode = path.error_mode;
  const bool has_peer_mode = path.error_mode == UcxErrorMode::kPeer;
  // Elsewhere both sides copy, or (RDMA) the end of our worker ends the peer's access.
  // "all", "shm" and "sm" are UCX's names for groups that include CMA.
  link.fences_sources =
      !options_.user_overrides_tls &&
      !names(path.tls, {"cma", "knem", "xpmem", "all", "shm", "sm", "cuda", "cuda_ipc"});
  link.ends_when_stalled = link.fences_sources && names(path.tls, {"posix", "sysv"}) &&
                           !names(path.tls, {"tcp", "rc", "ud", "dc", "ib"});
  // Over shared memory UCX notices after many seconds only.
  link.detects_peer_death = has_peer_mode && peer_class == PeerClass::kNetwork;
  link.may_see_device_memory = cuda().has_device;
  link.moves_device_memory = link.may_see_device_memory && context->moves_device_memory();
  link.path = "ucx " + (options_.user_overrides_tls ? "with UCX_TLS as set" : path.tls) +
              (has_peer_mode ? "; peer failure handled" : "; receiver pulls");
  return UcxLink::create(std::move(context), std::move(link), executor);
}

}  // namespace kvferry
