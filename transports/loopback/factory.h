#pragma once

#include <memory>

#include "kvferry/transport.h"

namespace kvferry {

/// Links between executors of one process: one memcpy, on the receiver's executor. Links find one
/// another only if the same Transport object made them; they may outlive it.
std::unique_ptr<Transport> make_loopback_transport();

}  // namespace kvferry
