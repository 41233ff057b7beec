#include "kvferry/transfer.h"

namespace kvferry {

std::string_view transfer_state_name(TransferState state) {
  switch (state) {
    case TransferState::kPlanned:
      return "planned";
    case TransferState::kPosted:
      return "posted";
    case TransferState::kDraining:
      return "draining";
    case TransferState::kCompleted:
      return "completed";
    case TransferState::kFailed:
      return "failed";
    case TransferState::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

}  // namespace kvferry
