#include "runtime/control/process_view.h"

#include <unistd.h>

#include <utility>

#include "runtime/control/peer_probe.h"

namespace kvferry {
namespace {

class PidfdWatch final : public ProcessWatch {
 public:
  PidfdWatch(UniqueFd pidfd, Executor& executor) : pidfd_(std::move(pidfd)), executor_(executor) {}
  ~PidfdWatch() override {
    if (heard_) executor_.unwatch_fd(pidfd_.get());
  }
  PidfdWatch(const PidfdWatch&) = delete;
  PidfdWatch& operator=(const PidfdWatch&) = delete;

  bool is_gone() const override { return process_is_gone(pidfd_); }

  Status when_gone(std::function<void()> heard) override {
    heard_ = std::move(heard);
    Status watched = executor_.watch_fd(pidfd_.get(), false, [this] {
      executor_.unwatch_fd(pidfd_.get());
      std::exchange(heard_, nullptr)();  // may end this watch
    });
    if (!watched.is_ok()) heard_ = nullptr;
    return watched;
  }

 private:
  const UniqueFd pidfd_;
  Executor& executor_;
  std::function<void()> heard_;
};

class SystemProcessView final : public ProcessView {
 public:
  int32_t pid() const override { return ::getpid(); }
  std::string host_id() const override { return host_id_; }
  uint64_t random_word() override { return random_u64(); }
  bool can_read(int32_t pid, uint64_t address, uint64_t expected) const override {
    return can_read_process(pid, address, expected);
  }
  std::unique_ptr<ProcessWatch> watch(int32_t pid, Executor& executor) override {
    UniqueFd pidfd = open_pidfd(pid);
    if (!pidfd.is_open()) return nullptr;
    return std::make_unique<PidfdWatch>(std::move(pidfd), executor);
  }

 private:
  const std::string host_id_ = kvferry::host_id();  // strangers make us ask often
};

}  // namespace

std::unique_ptr<ProcessView> make_system_process_view() {
  return std::make_unique<SystemProcessView>();
}

}  // namespace kvferry
