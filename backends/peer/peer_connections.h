#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/peer/factory.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// Keeps a list of peers connected: each is tried again and again, with pauses that grow, until it
/// is there, and anew when it was lost. Of each time that one cannot be reached there is one line
/// in the log.
///
/// Threads: any thread, internally locked.
class PeerConnections {
 public:
  /// What `context` points to, and `exchange`, is borrowed.
  PeerConnections(const BackendContext& context, PeerExchange& exchange,
                  const PeerOptions& options);

  /// Tries all of them. Once.
  void start();
  /// No more attempts; calls `on_closed` after the last one. Once.
  void close(std::function<void()> on_closed);

 private:
  struct State;

  static void try_soon(const std::shared_ptr<State>& state, size_t peer);
  static void try_later(const std::shared_ptr<State>& state, size_t peer, Duration pause);
  static void attempt(const std::shared_ptr<State>& state, size_t peer);
  /// What an attempt led to.
  static void judge(const std::shared_ptr<State>& state, size_t peer, const Status& status);

  const std::shared_ptr<State> state_;  // shared with attempts, timers and the lost handler
};

}  // namespace kvferry
