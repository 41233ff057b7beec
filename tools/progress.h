#pragma once

#include <cstddef>
#include <string>

#include "runtime/steady_clock.h"

namespace kvferry {

/// What people see on stderr during a run: one line that is rewritten on a terminal; elsewhere a
/// new one after the first request, every tenth of them, and when none came for a while.
class Progress {
 public:
  /// `command` starts the lines of say(): "kvferry demo".
  Progress(std::string command, size_t total);
  /// Takes the line away from a terminal after the last request; leaves where it ended early.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(size_t done, const std::string& text);
  /// A line of its own, which stays.
  void say(const std::string& line);

 private:
  const std::string command_;
  const size_t total_;
  const bool is_terminal_;
  const SteadyClock clock_;
  bool is_line_open_ = false;
  size_t done_ = 0;
  TimePoint shown_at_{};
};

}  // namespace kvferry
