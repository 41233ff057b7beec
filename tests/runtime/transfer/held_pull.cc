#include "tests/runtime/transfer/held_pull.h"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "kvferry/mutex.h"

namespace kvferry {
namespace {

// What engines read of one another to learn whether they can pull is smaller.
constexpr size_t kMinPullBytes = 4096;

class Holder {
 public:
  void hold(int num_before, HeldPullEvents events) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    num_before_ = num_before;
    events_ = std::move(events);
    is_armed_ = true;
  }
  void release() KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    is_released_ = true;
    changed_.notify_all();
  }

  template <typename Read>
  ssize_t pull(std::span<const iovec> local, Read read) KVFERRY_EXCLUDES(mutex_) {
    size_t num_bytes = 0;
    for (const iovec& each : local) num_bytes += each.iov_len;
    if (num_bytes < kMinPullBytes || !is_to_be_held()) return read(local);
    std::vector<std::byte> before(num_bytes);
    const iovec all{before.data(), before.size()};
    const ssize_t num_before = read(std::span(&all, 1));
    wait_until_released();
    const ssize_t num_after = read(local);
    events_.on_released(num_before == num_after && is_equal(before, local));
    return num_after;
  }

 private:
  bool is_to_be_held() KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (!is_armed_ || num_before_-- > 0) return false;
    is_armed_ = false;
    return true;
  }
  void wait_until_released() KVFERRY_EXCLUDES(mutex_) {
    events_.on_held();
    MutexLock lock(mutex_);
    while (!is_released_) changed_.wait(mutex_);
  }
  static bool is_equal(std::span<const std::byte> before, std::span<const iovec> after) {
    return std::ranges::all_of(after, [&](const iovec& each) {
      const auto* const bytes = static_cast<const std::byte*>(each.iov_base);
      const auto expected = before.first(each.iov_len);
      before = before.subspan(each.iov_len);
      return std::equal(expected.begin(), expected.end(), bytes);
    });
  }

  Mutex mutex_;
  CondVar changed_;
  bool is_armed_ KVFERRY_GUARDED_BY(mutex_) = false;
  bool is_released_ KVFERRY_GUARDED_BY(mutex_) = false;
  int num_before_ KVFERRY_GUARDED_BY(mutex_) = 0;
  HeldPullEvents events_;  // set before it is armed, once
};

Holder& holder() {
  static Holder the_one;  // there is one function of that name
  return the_one;
}

}  // namespace

void hold_pull(int num_before, HeldPullEvents events) {
  holder().hold(num_before, std::move(events));
}

void release_pull() { holder().release(); }

}  // namespace kvferry

extern "C" __attribute__((visibility("default"))) ssize_t process_vm_readv(
    pid_t pid, const iovec* local, unsigned long num_local, const iovec* remote,
    unsigned long num_remote, unsigned long flags) noexcept {
  return kvferry::holder().pull({local, num_local}, [&](std::span<const iovec> into) {
    return ::syscall(SYS_process_vm_readv, pid, into.data(), into.size(), remote, num_remote,
                     flags);
  });
}
