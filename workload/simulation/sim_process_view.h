#pragma once

#include <memory>
#include <string>

#include "runtime/control/process_view.h"
#include "transports/sim/sim_world.h"

namespace kvferry {

/// What a simulated process sees of itself and of the others of its host.
///
/// Threads: one
class SimProcessView final : public ProcessView {
 public:
  /// `can_pull`: processes of this host may read one another's memory.
  SimProcessView(SimWorld& world, SimProcess& own, bool can_pull)
      : world_(world), own_(own), can_pull_(can_pull) {}

  int32_t pid() const override { return own_.pid(); }
  std::string host_id() const override { return "simulated host"; }
  uint64_t random_word() override { return world_.random().next(); }
  bool can_read(int32_t pid, uint64_t address, uint64_t expected) const override;
  std::unique_ptr<ProcessWatch> watch(int32_t pid, Executor& executor) override;

 private:
  SimWorld& world_;
  SimProcess& own_;
  const bool can_pull_;
};

}  // namespace kvferry
