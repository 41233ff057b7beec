#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "kvferry/transport.h"
#include "transports/sim/sim_network.h"

namespace kvferry {

inline constexpr std::string_view kSimAddressPrefix = "sim:";
inline constexpr size_t kSimMaxHeaderBytes = 4096;

/// Links over a simulated network, for executors of its world. A pull between processes of one host
/// (kSameHostPull) cannot be fenced; the other classes can.
///
/// Threads: one
class SimTransport final : public Transport {
 public:
  explicit SimTransport(SimNetwork& network) : network_(network) {}

  std::string_view name() const override { return "sim"; }
  Status is_available(PeerClass /*peer_class*/) const override { return {}; }
  /// Errors: kInvalidArgument for an executor of another kind.
  Result<std::unique_ptr<Link>> open_link(PeerClass peer_class, Executor& executor) override;

 private:
  SimNetwork& network_;
};

}  // namespace kvferry
