#include "tests/transports/connect_hook.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "kvferry/mutex.h"

namespace kvferry {
namespace {

constexpr int kPatienceMs = 10'000;

class Hook {
 public:
  void arm(std::function<void()> what) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    what_ = std::move(what);
  }
  std::function<void()> take() KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return std::exchange(what_, nullptr);
  }

 private:
  Mutex mutex_;
  std::function<void()> what_ KVFERRY_GUARDED_BY(mutex_);
};

Hook& hook() {
  static Hook the_one;  // there is one function of that name
  return the_one;
}

}  // namespace

void after_next_connect(std::function<void()> what) { hook().arm(std::move(what)); }

}  // namespace kvferry

extern "C" __attribute__((visibility("default"))) int connect(int fd, const sockaddr* address,
                                                              socklen_t length) {
  const auto result = static_cast<int>(::syscall(SYS_connect, fd, address, length));
  const int error = errno;
  if (address->sa_family == AF_INET && (result == 0 || error == EINPROGRESS)) {
    if (const auto what = kvferry::hook().take()) {
      pollfd connected{fd, POLLOUT, 0};
      ::poll(&connected, 1, kvferry::kPatienceMs);
      what();
    }
  }
  errno = error;
  return result;
}
