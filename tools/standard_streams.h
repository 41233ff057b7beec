#pragma once

#include <string>

#include "kvferry/status.h"

namespace kvferry {

/// Gives descriptors 0 to 2 to /dev/null where a caller closed them, so that no file or socket of
/// ours takes their place. Call first thing in main().
void open_standard_streams();

/// Writes to stdout, and out of our buffer. Errors: kUnavailable with the errno, also for what was
/// printed before and did not arrive.
Status print_out(const std::string& text);

}  // namespace kvferry
