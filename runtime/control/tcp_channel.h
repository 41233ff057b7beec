#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/unique_fd.h"
#include "kvferry/executor.h"
#include "runtime/control/channel.h"

namespace kvferry {

/// A Channel over TCP.
///
/// A message is a u32 length (little-endian, at most max_message_bytes; before trust() at most
/// max_stranger_bytes) and that many bytes.
///
/// Threads: the executor it was made for only.
class TcpChannel final : public Channel {
 public:
  /// What a stranger can make us hold. A hello takes a quarter of it at most; the rest is for
  /// hellos of other versions, which are to be refused for their version.
  static constexpr size_t kMaxStrangerBytes = 4096;

  struct Limits {
    size_t max_message_bytes = 0;
    size_t max_stranger_bytes = kMaxStrangerBytes;  ///< of a message before trust()
    size_t max_unsent_bytes = 16U << 20;            ///< a peer that does not read is cut off here
  };
  TcpChannel(UniqueFd socket, Executor& executor, Limits limits);
  ~TcpChannel() override;
  TcpChannel(const TcpChannel&) = delete;
  TcpChannel& operator=(const TcpChannel&) = delete;

  Status start(MessageHandler on_message, CloseHandler on_close) override;
  /// What the socket does not take now is sent when it does.
  void send(std::span<const std::byte> message) override;
  void trust() override { is_trusted_ = true; }
  void close() override;

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
  bool is_trusted_ = false;
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
