#pragma once

#include <memory>
#include <string>

#include "kvferry/logger.h"
#include "kvferry/status.h"

namespace kvferry {

/// Lines to standard error by spdlog, at most 100 of a level in a second; what is left out is
/// counted and said.
std::unique_ptr<Logger> make_stderr_logger(const std::string& name, LogLevel least);

/// Lines to a file, which is emptied first; none is left out. Warnings and errors go to standard
/// error as well, as above.
/// Errors: kUnavailable naming the file.
Result<std::unique_ptr<Logger>> make_file_logger(const std::string& name, const std::string& path,
                                                 LogLevel least);

}  // namespace kvferry
