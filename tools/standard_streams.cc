#include "tools/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace kvferry {

void open_standard_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest free descriptor is the one that is missing.
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) != fd) return;
  }
}

Status print_out(const std::string& text) {
  const bool failed_before = std::ferror(stdout) != 0;
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  const bool flushed = std::fflush(stdout) == 0;
  if (written && flushed && !failed_before) return {};
  const int error = errno;
  const std::string cause = error == 0 ? "" : std::string(": ") + std::strerror(error);
  return Status::native(StatusCode::kUnavailable, ErrorDomain::kErrno, error,
                        "cannot write to the standard output" + cause);
}

}  // namespace kvferry
