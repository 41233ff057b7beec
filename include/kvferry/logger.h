#pragma once

#include <string_view>

namespace kvferry {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

/// Where log lines go. A line is an event word and `key=value` pairs.
///
/// error: the user must act. warn: we degraded. info: state changed. debug: everything else;
/// nothing is logged per block or per token.
///
/// Threads: any thread.
class Logger {
 public:
  virtual ~Logger() = default;
  virtual bool enabled(LogLevel level) const = 0;
  virtual void log(LogLevel level, std::string_view line) = 0;
};

}  // namespace kvferry
