#pragma once

#include <signal.h>

#include <memory>
#include <string>

#include "core/unique_fd.h"
#include "kvferry/status.h"

namespace kvferry {

/// SIGINT, SIGTERM and SIGHUP as a descriptor to poll, instead of an end in mid-run. Whatever is
/// ignored when it starts (nohup, background jobs) stays ignored. The destructor lets signals end
/// the process again.
///
/// Threads: caller serialises; starts before any other thread, which would get the signals.
class Interrupts {
 public:
  /// Errors: kResourceExhausted with the errno.
  static Result<std::unique_ptr<Interrupts>> create();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// Readable when a signal has come.
  int fd() const { return fd_.get(); }
  /// The first signal that came, 0 so far.
  int signal();

 private:
  Interrupts(UniqueFd fd, const sigset_t& mask_before)
      : fd_(std::move(fd)), mask_before_(mask_before) {}

  const UniqueFd fd_;
  const sigset_t mask_before_;
  int signal_ = 0;
};

/// "SIGINT"
std::string signal_name(int signal);

}  // namespace kvferry
