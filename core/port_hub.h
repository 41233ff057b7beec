#pragma once

#include <unistd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "kvferry/mutex.h"

namespace kvferry {

/// Where the ports of one transport within a process find one another by address.
///
/// Threads: any thread, internally locked
template <class Port>
class PortHub {
 public:
  /// `scheme` begins every address: "kvferry.loopback.1".
  explicit PortHub(std::string scheme) : scheme_(std::move(scheme)) {}

  /// Returns the port's address: unlike that of any port of another hub or process.
  std::string add(std::weak_ptr<Port> port) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    // Process and hub are part of the address, so that one from elsewhere is refused, not mistaken.
    std::string address = scheme_ + "/" + std::to_string(::getpid()) + "/" +
                          std::to_string(reinterpret_cast<uintptr_t>(this)) + "/" +
                          std::to_string(next_id_++);
    ports_.emplace(address, std::move(port));
    return address;
  }
  void remove(std::string_view address) KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (const auto found = ports_.find(address); found != ports_.end()) ports_.erase(found);
  }
  /// Null when no open port has this address.
  std::shared_ptr<Port> find(std::string_view address) const KVFERRY_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const auto found = ports_.find(address);
    return found == ports_.end() ? nullptr : found->second.lock();
  }

 private:
  const std::string scheme_;
  mutable Mutex mutex_;
  uint64_t next_id_ KVFERRY_GUARDED_BY(mutex_) = 1;
  std::map<std::string, std::weak_ptr<Port>, std::less<>> ports_ KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
