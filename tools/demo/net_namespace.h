#pragma once

#include <sys/stat.h>

#include <functional>
#include <string>
#include <utility>

#include "core/unique_fd.h"
#include "kvferry/status.h"

namespace kvferry {

/// A network namespace, named by a file: /run/netns/NAME, /proc/PID/ns/net.
class NetNamespace {
 public:
  /// Errors: kNotFound or kPermissionDenied with the errno; kInvalidArgument for a file that is
  ///   none such.
  static Result<NetNamespace> open(const std::string& file);
  /// The one this process is in. Errors: as open().
  static Result<NetNamespace> own() { return open("/proc/self/ns/net"); }

  /// Runs `what` on a thread that is inside; a process started there has the namespace's interfaces
  /// and the /sys that goes with them, by which UCX finds its devices.
  /// Errors: kPermissionDenied and others with the errno; then `what` has not run.
  Status run_inside(const std::function<void()>& what) const;

  friend bool operator==(const NetNamespace& a, const NetNamespace& b) {
    return a.device_ == b.device_ && a.inode_ == b.inode_;
  }

 private:
  NetNamespace(std::string file, UniqueFd fd, const struct stat& identity)
      : file_(std::move(file)),
        fd_(std::move(fd)),
        device_(identity.st_dev),
        inode_(identity.st_ino) {}

  Status enter() const;

  std::string file_;
  UniqueFd fd_;
  dev_t device_;
  ino_t inode_;
};

}  // namespace kvferry
