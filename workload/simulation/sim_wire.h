#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "runtime/control/channel.h"
#include "transports/sim/sim_network.h"

namespace kvferry {

/// What a simulated wire does to control messages. Chances are per million. TCP does not do the
/// last two; a peer with a mistake does.
struct WireFaults {
  uint32_t late = 0;       ///< a message, and all behind it, takes slow_latency
  uint32_t duplicate = 0;  ///< a message arrives twice
  uint32_t overtake = 0;   ///< a message arrives before those sent earlier
};

/// A control connection between two simulated processes. It ends when either side closes it, when a
/// process dies, or when it is cut.
///
/// Threads: one
class SimWire : public std::enable_shared_from_this<SimWire> {
 public:
  enum End : uint8_t { kConnector = 0, kListener = 1 };

  /// `faults` is borrowed and may change meanwhile.
  static std::shared_ptr<SimWire> create(SimNetwork& network, const WireFaults& faults,
                                         SimExecutor& connector, SimExecutor& listener);

  std::unique_ptr<Channel> channel(End end);

  /// Both sides hear, sooner or later, that the connection broke.
  void cut();
  /// Nothing arrives any more, and nobody is told: a network that lost the connection.
  void hang();
  bool is_open() const { return sides_[0].is_open && sides_[1].is_open && !is_hung_; }

 private:
  friend class SimChannel;
  struct Handlers {
    Channel::MessageHandler on_message;
    Channel::CloseHandler on_close;
  };
  struct Side {
    SimExecutor* executor = nullptr;
    bool is_open = true;
    std::shared_ptr<const Handlers> handlers;
    TimePoint last_delivery{};  // what comes to this side comes in order
  };

  SimWire(SimNetwork& network, const WireFaults& faults) : network_(network), faults_(faults) {}

  void send(End from, std::span<const std::byte> message);
  void deliver(End to, std::vector<std::byte> message, bool overtakes);
  void close(End end);
  void tell_closed(End to, const Status& status);

  SimNetwork& network_;
  const WireFaults& faults_;
  std::array<Side, 2> sides_;
  bool is_hung_ = false;
};

}  // namespace kvferry
