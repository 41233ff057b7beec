#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "kvferry/mutex.h"

namespace kvferry {

class HostOffloadPort;

/// Where the ports of one host_offload transport find one another by address.
///
/// Threads: any thread, internally locked
class HostOffloadHub {
 public:
  /// Returns the port's address: unlike that of any port of another hub or process.
  std::string add(std::weak_ptr<HostOffloadPort> port) KVFERRY_EXCLUDES(mutex_);
  void remove(std::string_view address) KVFERRY_EXCLUDES(mutex_);
  /// Null when no open port has this address.
  std::shared_ptr<HostOffloadPort> find(std::string_view address) const KVFERRY_EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  uint64_t next_id_ KVFERRY_GUARDED_BY(mutex_) = 1;
  std::map<std::string, std::weak_ptr<HostOffloadPort>, std::less<>> ports_
      KVFERRY_GUARDED_BY(mutex_);
};

}  // namespace kvferry
