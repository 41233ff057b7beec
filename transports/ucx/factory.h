#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kvferry/transport.h"

namespace kvferry {

/// Who notices that a peer is gone, and whether a link can be cut with work pending.
enum class UcxErrorMode : uint8_t {
  kNone,  ///< fastest on one host; only the end of the whole worker ends what is pending
  kPeer,  ///< UCX watches the peer; closing a link ends what is pending
};

/// The way to peers of one class.
struct UcxPath {
  std::string tls;  ///< as in UCX_TLS
  UcxErrorMode error_mode = UcxErrorMode::kPeer;
};

/// Which way UCX takes to each class of peer. The defaults are what was measured fastest (pull) or
/// can be fenced (shm, network).
///
/// Where UCX moves device memory (`Transport::moves_device_memory`), its CUDA transports are added
/// to each path: "cuda" where the receiver pulls, else "cuda_copy".
struct UcxOptions {
  UcxPath same_host_pull{"tcp,cma,self", UcxErrorMode::kNone};
  UcxPath same_host_shm{"posix,self", UcxErrorMode::kPeer};
  /// Empty: "tcp,self", with "rc,ud" before it where the host has RDMA devices.
  UcxPath network{"", UcxErrorMode::kPeer};
  /// The user chose the transports (UCX_TLS in the environment): leave them alone. What they are is
  /// then not known here, so that links claim no fence.
  bool user_overrides_tls = false;
};

/// "1.13.1": the UCX that was loaded.
std::string ucx_version();

/// Links between processes, or hosts, over UCX; nothing of UCX is started before the first use.
/// The links may outlive it. Not to be carried across fork() once used.
std::unique_ptr<Transport> make_ucx_transport(UcxOptions options = {});

}  // namespace kvferry
