#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvferry/export.h"
#include "kvferry/status.h"
#include "kvferry/transport.h"

namespace kvferry {

/// Transports of this build by name: "loopback" (engines of one process that share the object),
/// where UCX was found "ucx", and where CUDA was, "host_offload" (as loopback, for device memory
/// and pinned host memory; its streams are on CUDA device 0).
KVFERRY_EXPORT std::vector<std::string> transport_names();

/// Errors: kNotFound naming the known ones; kUnimplemented for "ucx" in a build without UCX. For
///   "host_offload": kUnimplemented in a build without CUDA; kNotFound without a driver or a
///   device.
KVFERRY_EXPORT Result<std::shared_ptr<Transport>> make_transport(std::string_view name);

}  // namespace kvferry
