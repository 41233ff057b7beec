#include "kvferry/transfer.h"

#include "kvferry/transport.h"

namespace kvferry {

std::string_view transfer_state_name(TransferState state) {
  switch (state) {
    case TransferState::kPlanned: return "planned";
    case TransferState::kPosted: return "posted";
    case TransferState::kDraining: return "draining";
    case TransferState::kCompleted: return "completed";
    case TransferState::kFailed: return "failed";
    case TransferState::kCancelled: return "cancelled";
  }
  return "unknown";
}

std::string_view peer_class_name(PeerClass peer_class) {
  switch (peer_class) {
    case PeerClass::kSameProcess: return "same process";
    case PeerClass::kSameHostPull: return "same host, pull";
    case PeerClass::kSameHostShm: return "same host, shared memory";
    case PeerClass::kNetwork: return "network";
  }
  return "unknown";
}

}  // namespace kvferry
