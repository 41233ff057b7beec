#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "kvferry/executor.h"

namespace kvferry {

/// One kind of log line that anybody can provoke: so that nobody fills the log, kLines of them are
/// let through in each kWindow, and at its end how many more there were.
///
/// Threads: the executor it was made for only.
class LogLimit {
 public:
  static constexpr int kLines = 20;
  static constexpr Duration kWindow = std::chrono::seconds(10);

  /// `rest`: the event word of the line that tells how many were left out: "<rest> count=17".
  LogLimit(Executor& executor, std::string rest, std::function<void(const std::string&)> log);
  LogLimit(const LogLimit&) = delete;
  LogLimit& operator=(const LogLimit&) = delete;

  void log(const std::string& line);
  /// As above; `make_line` is called only if its line is let through.
  void log(const std::function<std::string()>& make_line);

 private:
  void end_window();

  Executor& executor_;
  const std::string rest_;
  const std::function<void(const std::string&)> log_;
  TimePoint window_end_{};
  int num_lines_ = 0;
  uint64_t num_left_out_ = 0;
  // Timers hold it weakly: they do nothing once this is gone.
  const std::shared_ptr<LogLimit*> self_ = std::make_shared<LogLimit*>(this);
};

}  // namespace kvferry
