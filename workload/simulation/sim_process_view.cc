#include "workload/simulation/sim_process_view.h"

#include <utility>

namespace kvferry {
namespace {

class SimWatch final : public ProcessWatch {
 public:
  SimWatch(SimProcess& process, Executor& executor) : process_(process), executor_(executor) {}

  bool is_gone() const override { return !process_.is_alive(); }
  Status when_gone(std::function<void()> heard) override {
    process_.when_dead(
        [weak = std::weak_ptr(alive_), &executor = executor_, heard = std::move(heard)] {
          executor.post([weak, heard] {
            if (!weak.expired()) heard();
          });
        });
    return {};
  }

 private:
  SimProcess& process_;
  Executor& executor_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

bool SimProcessView::can_read(int32_t pid, uint64_t /*address*/, uint64_t /*expected*/) const {
  const SimProcess* const process = world_.find_process(pid);
  return can_pull_ && process != nullptr && process->is_alive();
}

std::unique_ptr<ProcessWatch> SimProcessView::watch(int32_t pid, Executor& executor) {
  SimProcess* const process = world_.find_process(pid);
  if (process == nullptr) return nullptr;
  return std::make_unique<SimWatch>(*process, executor);
}

}  // namespace kvferry
