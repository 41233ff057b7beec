#include "runtime/storage/miss_cause.h"

namespace kvferry {

std::string_view miss_cause_name(MissCause cause) {
  switch (cause) {
    case MissCause::kNotHeld:
      return "not_held";
    case MissCause::kNoMemory:
      return "no_memory";
    case MissCause::kLate:
      return "late";
    case MissCause::kUnavailable:
      return "unavailable";
    case MissCause::kDataLoss:
      return "data_loss";
    case MissCause::kOtherLayout:
      return "other_layout";
    case MissCause::kCancelled:
      return "cancelled";
    case MissCause::kError:
      return "error";
  }
  return "unknown";
}

MissCause miss_cause_of(const Status& status) {
  switch (status.code()) {
    case StatusCode::kResourceExhausted:
      return MissCause::kNoMemory;
    case StatusCode::kDeadlineExceeded:
      return MissCause::kLate;
    case StatusCode::kUnavailable:
      return MissCause::kUnavailable;
    case StatusCode::kDataLoss:
      return MissCause::kDataLoss;
    case StatusCode::kCancelled:
      return MissCause::kCancelled;
    case StatusCode::kOk:
    case StatusCode::kInvalidArgument:
    case StatusCode::kNotFound:
    case StatusCode::kAlreadyExists:
    case StatusCode::kFailedPrecondition:
    case StatusCode::kOutOfRange:
    case StatusCode::kUnimplemented:
    case StatusCode::kPermissionDenied:
    case StatusCode::kInternal:
    case StatusCode::kDeviceLost:
      return MissCause::kError;
  }
  return MissCause::kError;
}

}  // namespace kvferry
