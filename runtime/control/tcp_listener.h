#pragma once

#include <functional>
#include <memory>

#include "core/unique_fd.h"
#include "kvferry/executor.h"

namespace kvferry {

/// Takes the connections that come to a listening socket.
///
/// A connection that the system gives no descriptor or memory for stays in the socket's queue and
/// keeps the socket readable: the listener then looks away for `kPause` at a time, instead of
/// keeping its executor busy with nothing. What waited is taken once there is room again.
///
/// Threads: the executor it was made for only.
class TcpListener {
 public:
  static constexpr Duration kPause = std::chrono::milliseconds(100);
  /// So many are taken before the executor looks after others.
  static constexpr int kAcceptsPerTurn = 64;

  struct Events {
    /// May close the listener, not destroy it.
    std::function<void(UniqueFd)> on_connection;
    /// No connection can be taken for now. Once, until one has been taken again.
    std::function<void(const Status&)> on_starved;
  };

  TcpListener(UniqueFd socket, Executor& executor, Events events);
  ~TcpListener();
  TcpListener(const TcpListener&) = delete;
  TcpListener& operator=(const TcpListener&) = delete;

  /// Errors: those of Executor::watch_fd.
  Status start();
  void close();

 private:
  void accept_waiting();
  void look_away();
  void look_again();

  UniqueFd socket_;
  Executor& executor_;
  const Events events_;
  bool is_starved_ = false;
  std::shared_ptr<TcpListener*> self_ = std::make_shared<TcpListener*>(this);  // of pending timers
};

}  // namespace kvferry
