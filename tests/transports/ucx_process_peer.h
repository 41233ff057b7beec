#pragma once

#include <sys/types.h>

#include <string>

#include "kvferry/transport.h"
#include "runtime/unique_fd.h"

namespace kvferry {

/// What the other process does once connected.
enum class PeerRole : uint8_t { kMirror, kSink, kFlood };

/// This executable run once more, as the peer; killed with its owner.
///
/// It is spawned, not forked: UCX and the sanitizers keep threads and locks that a fork would cut
/// in two.
class PeerProcess {
 public:
  PeerProcess(PeerClass peer_class, PeerRole role);
  ~PeerProcess();
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  /// Messages over a socket pair: addresses, and the wish to end.
  void send(const std::string& message) const;
  std::string receive() const;
  void signal(int number) const;
  /// Its exit code, or minus the signal that ended it.
  int wait();

 private:
  UniqueFd socket_;
  pid_t pid_ = -1;
};

/// Runs the peer if the command line says so: then its exit code, else -1.
int run_as_peer(int argc, char** argv);

}  // namespace kvferry
