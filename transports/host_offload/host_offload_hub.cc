#include "transports/host_offload/host_offload_hub.h"

#include <unistd.h>

#include <utility>

namespace kvferry {

std::string HostOffloadHub::add(std::weak_ptr<HostOffloadPort> port) {
  MutexLock lock(mutex_);
  // Process and hub are part of the address, so that one from elsewhere is refused, not mistaken.
  std::string address = "kvferry.host_offload.1/" + std::to_string(::getpid()) + "/" +
                        std::to_string(reinterpret_cast<uintptr_t>(this)) + "/" +
                        std::to_string(next_id_++);
  ports_.emplace(address, std::move(port));
  return address;
}

void HostOffloadHub::remove(std::string_view address) {
  MutexLock lock(mutex_);
  if (const auto found = ports_.find(address); found != ports_.end()) ports_.erase(found);
}

std::shared_ptr<HostOffloadPort> HostOffloadHub::find(std::string_view address) const {
  MutexLock lock(mutex_);
  const auto found = ports_.find(address);
  return found == ports_.end() ? nullptr : found->second.lock();
}

}  // namespace kvferry
