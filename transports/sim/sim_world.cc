#include "transports/sim/sim_world.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace kvferry {
namespace {

// What one task takes: virtual time passes while work is done.
constexpr Duration kTaskTime = std::chrono::microseconds(4);
// How long the news of a process's death takes to reach those who watch it.
constexpr Duration kDeathNews = std::chrono::milliseconds(2);

std::string time_name(TimePoint now) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch() -
                                                                        std::chrono::hours(1));
  std::string digits = std::to_string(us.count());
  if (digits.size() < 9) digits.insert(0, 9 - digits.size(), ' ');
  return digits + " us  ";
}

}  // namespace

void SimExecutor::post(Task task) { posted_.push_back(std::move(task)); }

void SimExecutor::post_at(TimePoint when, Task task) {
  timers_.push({when, world_.next_order_++, std::make_shared<Task>(std::move(task))});
}

Status SimExecutor::watch_fd(int /*fd*/, bool /*want_write*/, Task /*on_ready*/) {
  return {StatusCode::kUnimplemented, "a simulated process has no descriptors"};
}

Status SimExecutor::add_progress_source(ProgressSource* /*source*/) {
  return {StatusCode::kUnimplemented, "a simulated process polls nothing"};
}

const Clock& SimExecutor::clock() const { return world_.clock(); }

bool SimExecutor::is_current() const { return world_.current_ == this; }

SimExecutor& SimProcess::add_executor() {
  executors_.push_back(std::make_unique<SimExecutor>(world_, *this));
  return *executors_.back();
}

void SimProcess::forget_tasks() {
  std::exchange(heard_, {});
  for (const auto& executor : executors_) {
    // What tasks own may post again while it goes.
    while (!executor->posted_.empty() || !executor->timers_.empty()) {
      std::exchange(executor->posted_, {});
      std::exchange(executor->timers_, {});
    }
  }
}

void SimProcess::kill() {
  if (std::exchange(is_dead_, true)) return;
  for (auto& heard : std::exchange(heard_, {})) {
    world_.after(world_.random().between(Duration::zero(), kDeathNews), std::move(heard));
  }
}

void SimProcess::when_dead(std::function<void()> heard) {
  if (is_dead_) {
    world_.after(kDeathNews, std::move(heard));
  } else {
    heard_.push_back(std::move(heard));
  }
}

SimWorld::SimWorld(uint64_t seed) : random_(seed) {}

SimWorld::~SimWorld() { forget_events(); }

void SimWorld::forget_events() {
  while (!events_.empty()) std::exchange(events_, {});  // what they own may add new ones
  for (const auto& process : processes_) process->forget_tasks();
}

SimProcess& SimWorld::add_process(std::string name) {
  const auto pid = static_cast<int32_t>(1000 + processes_.size());
  processes_.push_back(std::make_unique<SimProcess>(*this, std::move(name), pid));
  return *processes_.back();
}

SimProcess* SimWorld::find_process(int32_t pid) const {
  const auto found =
      std::ranges::find(processes_, pid, [](const auto& each) { return each->pid(); });
  return found == processes_.end() ? nullptr : found->get();
}

void SimWorld::after(Duration delay, std::function<void()> event) {
  events_.push(
      {now() + delay, next_order_++, std::make_shared<std::function<void()>>(std::move(event))});
}

void SimWorld::release_due() {
  for (const auto& process : processes_) {
    if (!process->is_running()) continue;
    for (const auto& executor : process->executors_) {
      while (!executor->timers_.empty() && executor->timers_.top().when <= now()) {
        executor->posted_.push_back(std::move(*executor->timers_.top().task));
        executor->timers_.pop();
      }
    }
  }
}

// To the next time at which something is due. False: there is none.
bool SimWorld::advance() {
  std::optional<TimePoint> next;
  if (!events_.empty()) next = events_.top().when;
  for (const auto& process : processes_) {
    if (!process->is_running()) continue;
    for (const auto& executor : process->executors_) {
      const auto may_be = [&](TimePoint when) { next = next ? std::min(*next, when) : when; };
      if (!executor->timers_.empty()) may_be(executor->timers_.top().when);
      if (!executor->posted_.empty()) may_be(executor->busy_until_);
    }
  }
  if (!next) return false;
  clock_.set(std::max(now(), *next));
  return true;
}

bool SimWorld::step() {
  for (;;) {
    if (!events_.empty() && events_.top().when <= now()) {
      const auto event = events_.top().run;
      events_.pop();
      note(next_order_);
      (*event)();
      return true;
    }
    release_due();
    SimExecutor* chosen = nullptr;
    uint64_t runnable = 0;
    for (const auto& process : processes_) {
      if (!process->is_running()) continue;
      for (const auto& executor : process->executors_) {
        if (executor->posted_.empty() || executor->busy_until_ > now()) continue;
        if (random_.below(++runnable) == 0) chosen = executor.get();
      }
    }
    if (chosen != nullptr) {
      run(*chosen);
      return true;
    }
    if (!advance()) return false;
  }
}

void SimWorld::run(SimExecutor& executor) {
  Executor::Task task = std::move(executor.posted_.front());
  executor.posted_.pop_front();
  clock_.set(now() + random_.between(Duration::zero(), kTaskTime));
  note(static_cast<uint64_t>(executor.process_.pid()));
  note(static_cast<uint64_t>(now().time_since_epoch().count()));
  current_ = &executor;
  task();
  task = nullptr;
  current_ = nullptr;
  if (!random_.chance(lag_)) return;
  count_fault();
  executor.busy_until_ = now() + random_.between(Duration::zero(), longest_lag_);
}

bool SimWorld::run_until(const std::function<bool()>& done, TimePoint limit) {
  for (uint64_t steps = 0; !done(); ++steps) {
    if (steps > kMaxSteps || now() > limit || !step()) return done();
  }
  return true;
}

void SimWorld::log(const std::function<std::string()>& line) {
  if (is_logging_) log_.push_back(time_name(now()) + line());
}

void SimWorld::note(uint64_t fact) {
  fingerprint_ = (fingerprint_ ^ fact) * 0x9e3779b97f4a7c15;
  fingerprint_ ^= fingerprint_ >> 29;
}

}  // namespace kvferry
