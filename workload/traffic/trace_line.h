#pragma once

#include <string>
#include <string_view>

#include "workload/traffic/trace.h"

namespace kvferry::detail {

/// Parses one line of a trace into `request`, whose ids it replaces.
///
/// Returns an empty text, or on one short line which field is wrong and why. Memory is bounded by
/// the line's size: values that a trace does not have are skipped, never built.
std::string parse_trace_line(std::string_view line, TraceRequest& request);

}  // namespace kvferry::detail
