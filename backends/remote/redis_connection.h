#pragma once

#include <sys/socket.h>

#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/remote/redis_protocol.h"
#include "core/remote_url.h"
#include "core/unique_fd.h"
#include "kvferry/backend_context.h"
#include "kvferry/cache_engine_key.h"

namespace kvferry {

/// One command, its way over a connection and its end.
struct RedisOp {
  std::string head;                       ///< all of the command, or what comes before its value
  std::vector<std::byte> record_head;     ///< of a SET: the value's first part
  MemoryObjPtr obj;                       ///< of a SET: the value's second part
  TimePoint deadline = TimePoint::max();  ///< of the caller
  /// Takes the value of an answer, while it lies in the reader's buffer. May be empty.
  std::function<void(std::span<const std::byte> value)> on_value;
  /// Called once. Errors: kUnavailable, kDeadlineExceeded, kPermissionDenied, kCancelled.
  std::function<void(Result<RedisAnswer>)> end;

  // The connection's own.
  TimePoint expiry;
  size_t sent_bytes = 0;
  bool has_ended = false;  ///< before its answer, which will still come

  size_t size_bytes() const {
    return head.size() + (obj ? record_head.size() + obj->bytes().size() + 2 : 0);
  }
};

/// A connection to a server that is made again, at growing intervals, whenever it is lost.
///
/// Commands are pipelined, up to kWindow of them unanswered. Values are written from where they
/// lie. While there is no connection and none being made, commands end at once. One that is not
/// answered in time ends; a server that is silent for as long is taken for lost.
///
/// Threads: the context's executor only.
class RedisConnection final : public std::enable_shared_from_this<RedisConnection> {
 public:
  static constexpr size_t kWindow = 16;

  static std::shared_ptr<RedisConnection> create(const BackendContext& context,
                                                 const RemoteConfig& store);

  void start() { connect(); }
  /// Sent by the next flush().
  void submit(RedisOp op);
  void flush();
  /// Commands that have not ended.
  size_t num_open() const { return unsent_.size() + sent_.size(); }
  /// Ends all commands, kCancelled, then calls `on_closed`. Once, and last.
  void close(std::function<void()> on_closed);

 private:
  enum class State : uint8_t { kWaiting, kResolving, kConnecting, kGreeting, kReady, kClosed };
  struct Address {
    sockaddr_storage bytes{};
    socklen_t size = 0;
    int family = 0;
  };
  struct Addresses {
    std::vector<Address> found;
    std::string error;
  };

  RedisConnection(const BackendContext& context, const RemoteConfig& store);

  // Making the connection.
  void connect();
  static Addresses resolve(const RemoteConfig& store, bool may_ask);
  void connect_to(const Addresses& addresses);
  void connect_next();
  void finish_connect();
  void end_attempt(int error);
  void greet();
  void add_greeting(std::string command, const std::string& what, bool is_secret);
  void become_ready();

  // Moving bytes.
  void on_event();
  void read_some();
  bool read_answers();
  void handle(RedisAnswer answer);
  void write_some();
  RedisOp* next_to_send(size_t ahead);
  bool send_batch();
  void watch(bool want_write);

  // Losing it.
  void fail(const Status& why);
  std::vector<RedisOp> take_all();
  static void end_all(const std::vector<RedisOp>& ops, const Status& why);
  void sweep();
  void sweep_queue(std::deque<RedisOp>& queue, TimePoint now, std::vector<RedisOp>& ended);
  void arm_sweep(TimePoint when);
  void run_at(TimePoint when, void (RedisConnection::*task)(uint64_t attempt));
  void retry(uint64_t attempt);
  void give_up_connecting(uint64_t attempt);
  TimePoint now() const { return context_.executor->clock().now(); }
  std::string where() const { return remote_url_text(store_); }

  const BackendContext context_;
  const RemoteConfig store_;
  State state_ = State::kWaiting;
  uint64_t attempt_ = 0;  // a timer or an answer of the resolver for another one is void
  int num_failures_ = 0;  // in a row
  bool is_resolving_ = false;
  std::function<void()> on_closed_;
  Status last_error_;
  std::minstd_rand random_;

  std::vector<Address> addresses_;
  size_t next_address_ = 0;
  UniqueFd socket_;
  bool wants_write_ = false;
  std::unique_ptr<RedisReplyReader> reader_;
  std::vector<std::byte> read_buffer_;

  std::deque<RedisOp> greeting_;  // to be sent before all else
  std::deque<RedisOp> unsent_;
  std::deque<RedisOp> sent_;
  TimePoint last_progress_;
  TimePoint next_sweep_ = TimePoint::max();
};

}  // namespace kvferry
