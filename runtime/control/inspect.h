#pragma once

#include <cstdint>
#include <string>

#include "kvferry/clock.h"
#include "kvferry/status.h"

namespace kvferry {

/// Asks the engine that listens there how it is, without becoming its peer. Blocks up to `timeout`.
/// Returns a JSON object, as EngineCore::report() makes it.
///
/// Errors: as tcp_connect(); kPermissionDenied (token), kDeadlineExceeded, kUnavailable;
///   kFailedPrecondition for an engine of another version; kInvalidArgument for one that is none.
Result<std::string> inspect_engine(const std::string& host, uint16_t port, const std::string& token,
                                   Duration timeout);

}  // namespace kvferry
