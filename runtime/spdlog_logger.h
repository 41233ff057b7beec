#pragma once

#include <memory>
#include <string>

#include "kvferry/logger.h"

namespace kvferry {

/// Lines to standard error by spdlog, at most 100 of a level in a second; what is left out is
/// counted and said.
std::unique_ptr<Logger> make_stderr_logger(const std::string& name, LogLevel least);

}  // namespace kvferry
