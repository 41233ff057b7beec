#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "transports/sim/sim_faults.h"
#include "transports/sim/sim_memory.h"
#include "transports/sim/sim_world.h"

namespace kvferry {

class SimPort;

/// What the links of one simulated machine room share: where ports are, what goes wrong, and who
/// owns which memory.
///
/// Threads: one
class SimNetwork {
 public:
  /// `memory` may be null: nothing is checked then. Both are borrowed.
  SimNetwork(SimWorld& world, SimMemory* memory) : world_(world), memory_(memory) {}

  SimWorld& world() { return world_; }
  SimMemory* memory() { return memory_; }
  SimFaults& faults() { return faults_; }

  std::string add(std::weak_ptr<SimPort> port);
  /// Null when no open port has this address.
  std::shared_ptr<SimPort> find(std::string_view address) const;
  void remove(std::string_view address);

  /// True in `per_million` of a million cases, and then counted as a fault.
  bool strikes(uint32_t per_million);
  /// Something was lost, or said wrongly, for good: only time can tell those who wait for it.
  void count_loss() { ++losses_; }
  uint64_t losses() const { return losses_; }
  /// How long the next delivery or copy takes.
  Duration latency();

 private:
  SimWorld& world_;
  SimMemory* const memory_;
  SimFaults faults_;
  uint64_t losses_ = 0;
  uint64_t next_id_ = 1;
  std::map<std::string, std::weak_ptr<SimPort>, std::less<>> ports_;
};

}  // namespace kvferry
