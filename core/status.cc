#include "kvferry/status.h"

namespace kvferry {

struct Status::State {
  StatusCode code;
  ErrorDomain domain;
  int64_t native_code;
  const char* file;
  int line;
  std::string message;
};

std::string_view status_code_name(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "ok";
    case StatusCode::kCancelled:
      return "cancelled";
    case StatusCode::kInvalidArgument:
      return "invalid_argument";
    case StatusCode::kDeadlineExceeded:
      return "deadline_exceeded";
    case StatusCode::kNotFound:
      return "not_found";
    case StatusCode::kAlreadyExists:
      return "already_exists";
    case StatusCode::kResourceExhausted:
      return "resource_exhausted";
    case StatusCode::kFailedPrecondition:
      return "failed_precondition";
    case StatusCode::kOutOfRange:
      return "out_of_range";
    case StatusCode::kUnimplemented:
      return "unimplemented";
    case StatusCode::kUnavailable:
      return "unavailable";
    case StatusCode::kDataLoss:
      return "data_loss";
    case StatusCode::kPermissionDenied:
      return "permission_denied";
    case StatusCode::kInternal:
      return "internal";
    case StatusCode::kDeviceLost:
      return "device_lost";
  }
  return "unknown";
}

Status::Status(StatusCode code, std::string message, const char* file, int line)
    : Status(native(code, ErrorDomain::kNone, 0, std::move(message), file, line)) {}

Status Status::native(StatusCode code, ErrorDomain domain, int64_t native_code, std::string message,
                      const char* file, int line) {
  Status status;
  if (code != StatusCode::kOk) {
    status.state_ = std::make_shared<const State>(
        State{code, domain, native_code, file, line, std::move(message)});
  }
  return status;
}

StatusCode Status::code() const noexcept { return state_ ? state_->code : StatusCode::kOk; }

std::string_view Status::message() const noexcept {
  return state_ ? std::string_view(state_->message) : std::string_view();
}

ErrorDomain Status::domain() const noexcept { return state_ ? state_->domain : ErrorDomain::kNone; }

int64_t Status::native_code() const noexcept { return state_ ? state_->native_code : 0; }

Status Status::with_context(std::string_view context) const {
  if (is_ok()) return *this;
  return native(state_->code, state_->domain, state_->native_code,
                std::string(context) + ": " + state_->message, state_->file, state_->line);
}

std::string Status::to_string() const {
  if (is_ok()) return "ok";
  return std::string(status_code_name(state_->code)) + ": " + state_->message;
}

std::string Status::to_string_with_location() const {
  if (is_ok()) return "ok";
  return to_string() + " [" + state_->file + ":" + std::to_string(state_->line) + "]";
}

}  // namespace kvferry
