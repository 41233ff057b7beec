#include "tools/interrupts.h"

#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

namespace kvferry {
namespace {

bool is_ignored(int signal) {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

/// The next signal that has come, 0 if none.
int take_signal(int fd) {
  signalfd_siginfo info{};
  return ::read(fd, &info, sizeof(info)) == sizeof(info) ? static_cast<int>(info.ssi_signo) : 0;
}

}  // namespace

Result<std::unique_ptr<Interrupts>> Interrupts::create() {
  sigset_t wanted;
  sigset_t before;
  ::sigemptyset(&wanted);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    if (!is_ignored(signal)) ::sigaddset(&wanted, signal);
  }
  UniqueFd fd(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.is_open()) {
    const int error = errno;
    return make_error(Status::native(StatusCode::kResourceExhausted, ErrorDomain::kErrno, error,
                                     std::string("no signalfd: ") + ::strerror(error)));
  }
  // Blocked signals reach no handler, UCX's neither; they wait for the descriptor's reader.
  ::pthread_sigmask(SIG_BLOCK, &wanted, &before);
  return std::unique_ptr<Interrupts>(new Interrupts(std::move(fd), before));
}

Interrupts::~Interrupts() {
  // One that repeats what has been answered must not end the process before it has said so.
  while (signal_ != 0 && take_signal(fd_.get()) != 0) {
  }
  ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

int Interrupts::signal() {
  if (signal_ == 0) signal_ = take_signal(fd_.get());
  return signal_;
}

std::string signal_name(int signal) {
  const char* const name = ::sigabbrev_np(signal);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

}  // namespace kvferry
