#include "tools/demo/net_namespace.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "core/printable.h"

namespace kvferry {
namespace {

constexpr size_t kMaxEchoed = 256;

Status native_error(const std::string& what, int error) {
  StatusCode code = StatusCode::kUnavailable;
  if (error == ENOENT) code = StatusCode::kNotFound;
  if (error == EPERM || error == EACCES) code = StatusCode::kPermissionDenied;
  return Status::native(code, ErrorDomain::kErrno, error, what + ": " + std::strerror(error));
}

}  // namespace

Result<NetNamespace> NetNamespace::open(const std::string& file) {
  std::string shown = detail::printable(file, kMaxEchoed);
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.is_open()) return tl::unexpected(native_error("cannot open " + shown, errno));
  struct stat identity {};
  if (::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET || ::fstat(fd.get(), &identity) != 0) {
    return make_error(StatusCode::kInvalidArgument,
                      shown + " is no network namespace; give /run/netns/NAME or /proc/PID/ns/net");
  }
  return NetNamespace(std::move(shown), std::move(fd), identity);
}

// Namespaces are of threads; what a thread starts inherits them. The file system is unshared, as
// `ip netns exec` does, so that only it sees the other /sys.
Status NetNamespace::enter() const {
  const auto refused = [this](const char* step) {
    const int error = errno;
    return native_error("cannot " + std::string(step) + " network namespace " + file_ +
                            (error == EPERM ? " (that needs CAP_SYS_ADMIN)" : ""),
                        error);
  };
  if (::setns(fd_.get(), CLONE_NEWNET) != 0) return refused("enter");
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    return refused("have mounts of our own in");
  }
  // Not there, or in use below: then it is covered.
  ::umount2("/sys", MNT_DETACH);
  if (::mount("kvferry", "/sys", "sysfs", 0, nullptr) != 0) return refused("mount the /sys of");
  return {};
}

Status NetNamespace::run_inside(const std::function<void()>& what) const {
  Status status;
  std::thread([&] {
    status = enter();
    if (status.is_ok()) what();
  }).join();
  return status;
}

}  // namespace kvferry
