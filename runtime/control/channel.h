#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "kvferry/status.h"

namespace kvferry {

/// Ordered small messages to one peer; its end is how we learn of a peer's death.
///
/// Messages are whole, and bounded by what the channel was made with.
///
/// Threads: the executor it was made for only.
class Channel {
 public:
  using MessageHandler = std::function<void(std::span<const std::byte>)>;
  /// Runs once; OK when the peer closed in order.
  using CloseHandler = std::function<void(Status)>;

  virtual ~Channel() = default;

  /// Handlers may destroy the channel.
  virtual Status start(MessageHandler on_message, CloseHandler on_close) = 0;

  /// Queues a message; what cannot be sent now is sent later. After the end of the channel messages
  /// are dropped: the close handler says that it ended.
  virtual void send(std::span<const std::byte> message) = 0;

  /// The peer has proven who it is: until then only small messages are taken in.
  virtual void trust() = 0;

  /// Stops without calling the close handler.
  virtual void close() = 0;
};

}  // namespace kvferry
