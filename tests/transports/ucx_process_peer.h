#pragma once

#include <cstdint>

#include "kvferry/transport.h"
#include "tests/support/self_process.h"

namespace kvferry {

/// What the other process does once connected.
enum class PeerRole : uint8_t { kMirror, kSink, kFlood };

/// The peer's process. Its messages: addresses, and the wish to end.
class PeerProcess : public SelfProcess {
 public:
  PeerProcess(PeerClass peer_class, PeerRole role);
};

/// Runs the peer if the command line says so: then its exit code, else -1.
int run_as_peer(int argc, char** argv);

}  // namespace kvferry
