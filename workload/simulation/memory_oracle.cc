#include "workload/simulation/memory_oracle.h"

namespace kvferry {

uint64_t MemoryOracle::stamp(std::span<const std::byte> bytes) const {
  for (const MemoryPool* pool : pools_) {
    if (const uint64_t use = pool->use_at(bytes.data()); use != 0) return use;
  }
  return 0;
}

void MemoryOracle::touch(std::span<const std::byte> bytes, uint64_t stamp,
                         const std::string& what) {
  const uint64_t now = this->stamp(bytes);
  if (now == stamp && stamp != 0) return;
  const char* const why = stamp == 0 ? " that never was of a pool"
                          : now == 0 ? " that was released"
                                     : " that is used for something else by now";
  on_violation_(what + why);
}

}  // namespace kvferry
