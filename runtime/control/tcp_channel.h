#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvferry/executor.h"
#include "runtime/unique_fd.h"

namespace kvferry {

/// Ordered small messages to one peer over TCP; its end is how we learn of a peer's death.
///
/// A message is a u32 length (little-endian, at most max_message_bytes) and that many bytes. A
/// stranger may send less: its first message must be small, and its handler must close the channel
/// unless it is satisfied with who is there.
///
/// Threads: the executor it was made for only.
class TcpChannel {
 public:
  /// What a stranger can make us hold. A hello takes a quarter of it at most; the rest is for
  /// hellos of other versions, which are to be refused for their version.
  static constexpr size_t kMaxStrangerBytes = 4096;

  struct Limits {
    size_t max_message_bytes = 0;
    size_t max_first_message_bytes = kMaxStrangerBytes;
    size_t max_unsent_bytes = 16U << 20;  ///< a peer that does not read is cut off here
  };
  using MessageHandler = std::function<void(std::span<const std::byte>)>;
  /// Runs once; OK when the peer closed in order.
  using CloseHandler = std::function<void(Status)>;

  TcpChannel(UniqueFd socket, Executor& executor, Limits limits);
  ~TcpChannel();
  TcpChannel(const TcpChannel&) = delete;
  TcpChannel& operator=(const TcpChannel&) = delete;

  /// Handlers may destroy the channel.
  Status start(MessageHandler on_message, CloseHandler on_close);

  /// Queues a message; what cannot be sent now is sent when the socket takes it. After the end of
  /// the channel messages are dropped: the close handler says that it ended.
  void send(std::span<const std::byte> message);

  /// Stops without calling the close handler.
  void close();

 private:
  struct Handlers {
    MessageHandler on_message;
    CloseHandler on_close;
  };

  void on_ready();
  bool read_some();
  size_t message_limit() const;
  bool deliver();
  void flush();
  void end(Status status);

  UniqueFd socket_;
  Executor& executor_;
  const Limits limits_;
  std::shared_ptr<const Handlers> handlers_;  // shared with a call under way
  std::vector<std::byte> received_;
  std::vector<std::byte> unsent_;
  bool watching_writes_ = false;
  bool is_known_ = false;  // the peer's first message was to the handler's satisfaction
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// A listening socket on `host`:`port` (0: any free port). IPv4 or a resolvable name.
/// Errors: kInvalidArgument for a host that does not resolve; kUnavailable or kPermissionDenied
///   with the errno and the address.
Result<UniqueFd> tcp_listen(const std::string& host, uint16_t port);
Result<uint16_t> tcp_local_port(const UniqueFd& socket);

/// Takes one waiting connection; an unopened UniqueFd if there is none (any more).
/// Errors: kResourceExhausted with the errno; the connection still waits.
Result<UniqueFd> tcp_accept(const UniqueFd& listener);

/// Connects within `timeout`, however long. Blocks; a name may take longer to resolve.
/// Errors: kUnavailable, kDeadlineExceeded, kInvalidArgument; kResourceExhausted for no socket.
Result<UniqueFd> tcp_connect(const std::string& host, uint16_t port, Duration timeout);

}  // namespace kvferry
