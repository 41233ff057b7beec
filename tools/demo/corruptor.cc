#include "tools/demo/corruptor.h"

namespace kvferry {

void Corruptor::on_staged(const StagedFragment& fragment) {
  MutexLock lock(mutex_);
  const std::string key = fragment.ref.key.to_string();
  if (fragment.index == 0 && !hit_.contains(key) && ++num_chunks_ % one_in_ == 0) {
    targets_[key] = static_cast<int32_t>(num_chunks_ / one_in_ % fragment.count);
  }
  const auto target = targets_.find(key);
  if (target == targets_.end() || target->second != fragment.index) return;
  const size_t at = static_cast<size_t>(num_chunks_) * 4099 % fragment.bytes.size();
  fragment.bytes[at] ^= std::byte{0x40};
  targets_.erase(target);
  hit_.insert(key);
}

std::vector<std::string> Corruptor::keys() const {
  MutexLock lock(mutex_);
  return {hit_.begin(), hit_.end()};
}

}  // namespace kvferry
