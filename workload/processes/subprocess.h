#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace kvferry {

/// A program that is run, with its output kept. The destructor kills it if it still runs.
class Subprocess {
 public:
  explicit Subprocess(const std::vector<std::string>& command);
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t pid() const { return pid_; }

  /// Reads output until `is_enough` says so; false if the program ended or time passed first.
  bool read_until(const std::function<bool(const Subprocess&)>& is_enough,
                  std::chrono::seconds limit);

  /// Reads output to its end and waits. The exit code, 128 + the signal that ended it, or -1 if
  /// `limit` passed first.
  int wait(std::chrono::seconds limit);

  const std::string& out() const { return out_; }
  const std::string& err() const { return err_; }

 private:
  /// False when both streams have ended.
  bool read_some(std::chrono::steady_clock::time_point deadline);

  pid_t pid_ = -1;
  int out_fd_ = -1;
  int err_fd_ = -1;
  std::string out_;
  std::string err_;
};

}  // namespace kvferry
