#include "transports/ucx/ucx_status.h"

#include <string>

namespace kvferry {
namespace {

StatusCode code_of(ucs_status_t status) {
  switch (status) {
    case UCS_OK:
      return StatusCode::kOk;
    case UCS_ERR_CANCELED:
      return StatusCode::kCancelled;
    case UCS_ERR_REJECTED:
      return StatusCode::kFailedPrecondition;
    case UCS_ERR_NO_MEMORY:
    case UCS_ERR_NO_RESOURCE:
    case UCS_ERR_EXCEEDS_LIMIT:
      return StatusCode::kResourceExhausted;
    case UCS_ERR_INVALID_PARAM:
    case UCS_ERR_INVALID_ADDR:
    case UCS_ERR_MESSAGE_TRUNCATED:
    case UCS_ERR_BUFFER_TOO_SMALL:
      return StatusCode::kInvalidArgument;
    case UCS_ERR_UNSUPPORTED:
    case UCS_ERR_NOT_IMPLEMENTED:
    case UCS_ERR_NO_DEVICE:
    case UCS_ERR_NO_ELEM:
      return StatusCode::kUnimplemented;
    case UCS_ERR_UNREACHABLE:
    case UCS_ERR_NOT_CONNECTED:
    case UCS_ERR_CONNECTION_RESET:
    case UCS_ERR_ENDPOINT_TIMEOUT:
    case UCS_ERR_TIMED_OUT:
    case UCS_ERR_IO_ERROR:
      return StatusCode::kUnavailable;
    default:
      return StatusCode::kInternal;
  }
}

}  // namespace

Status ucx_status(ucs_status_t status, std::string_view what, const char* file, int line) {
  if (status == UCS_OK) return {};
  return Status::native(code_of(status), ErrorDomain::kUcx, status,
                        std::string(what) + ": " + ucs_status_string(status), file, line);
}

}  // namespace kvferry
