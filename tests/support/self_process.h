#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/unique_fd.h"

namespace kvferry {

/// This executable run once more, as another role, with messages both ways; killed with its owner.
///
/// It is spawned, not forked: UCX and the sanitizers keep threads and locks that a fork would cut
/// in two. It inherits no descriptors but its end of the messages.
///
/// Threads: one at a time.
class SelfProcess {
 public:
  /// `words`: what it is to be, for find_self_role() to find.
  SelfProcess(const std::string& role, const std::vector<std::string>& words);
  ~SelfProcess();
  SelfProcess(const SelfProcess&) = delete;
  SelfProcess& operator=(const SelfProcess&) = delete;

  void send(const std::string& message) const;
  /// Empty when the process has ended, or `limit` has passed.
  std::string receive(std::chrono::seconds limit = std::chrono::seconds(60)) const;
  void signal(int number) const;
  /// Its exit code, or minus the signal that ended it.
  int wait();

 private:
  UniqueFd socket_;
  pid_t pid_ = -1;
};

/// The other end of a SelfProcess's messages.
///
/// Threads: any thread.
class SelfOwner {
 public:
  explicit SelfOwner(int fd) : fd_(fd) {}
  void send(const std::string& message) const;
  /// Waits; empty when the owner is gone.
  std::string receive() const;

 private:
  int fd_;
};

/// Its words, if this process is a SelfProcess of that role; `owner` is who sends it messages.
struct SelfRole {
  std::vector<std::string> words;
  SelfOwner owner;
};
std::optional<SelfRole> find_self_role(const std::string& role, int argc, char** argv);

}  // namespace kvferry
