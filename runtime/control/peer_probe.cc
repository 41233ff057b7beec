#include "runtime/control/peer_probe.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <fstream>
#include <random>

namespace kvferry {

std::string host_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

uint64_t random_u64() {
  uint64_t value = 0;
  if (::getrandom(&value, sizeof(value), 0) == sizeof(value)) return value;
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

bool can_read_process(int32_t pid, uint64_t address, uint64_t expected) {
  uint64_t found = ~expected;
  iovec local{&found, sizeof(found)};
  iovec remote{reinterpret_cast<void*>(address), sizeof(found)};  // NOLINT: an address over there
  const ssize_t n = ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
  return n == sizeof(found) && found == expected;
}

UniqueFd open_pidfd(int32_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

bool process_is_gone(const UniqueFd& pidfd) {
  if (!pidfd.is_open()) return false;
  pollfd poll_fd{pidfd.get(), POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) == 1;
}

}  // namespace kvferry
