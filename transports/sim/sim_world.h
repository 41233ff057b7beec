#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "kvferry/clock.h"
#include "kvferry/executor.h"

namespace kvferry {

class SimProcess;
class SimWorld;

/// Draws of one seed, the same on every machine.
class SimRandom {
 public:
  explicit SimRandom(uint64_t seed) : engine_(seed) {}

  uint64_t next() { return engine_(); }
  /// 0 to bound - 1. REQUIRES: bound > 0
  uint64_t below(uint64_t bound) { return engine_() % bound; }
  /// True in `per_million` of a million cases.
  bool chance(uint32_t per_million) { return per_million != 0 && below(1'000'000) < per_million; }
  Duration between(Duration low, Duration high) {
    return low + Duration(below(static_cast<uint64_t>((high - low).count()) + 1));
  }

 private:
  std::mt19937_64 engine_;
};

/// One logical thread of a simulated process. What is posted runs in order; which executor runs
/// next is the world's draw.
class SimExecutor final : public Executor {
 public:
  SimExecutor(SimWorld& world, SimProcess& process) : world_(world), process_(process) {}

  void post(Task task) override;
  void post_at(TimePoint when, Task task) override;
  /// Errors: kUnimplemented: a simulated process has no descriptors.
  Status watch_fd(int fd, bool want_write, Task on_ready) override;
  void unwatch_fd(int /*fd*/) override {}
  Status add_progress_source(ProgressSource* source) override;
  void remove_progress_source(ProgressSource* /*source*/) override {}
  const Clock& clock() const override;
  bool is_current() const override;

  SimProcess& process() { return process_; }

 private:
  friend class SimWorld;
  friend class SimProcess;
  struct Timer {
    TimePoint when;
    uint64_t order;
    std::shared_ptr<Task> task;
    bool operator<(const Timer& other) const {
      return when != other.when ? when > other.when : order > other.order;
    }
  };

  SimWorld& world_;
  SimProcess& process_;
  std::deque<Task> posted_;
  std::priority_queue<Timer> timers_;
  TimePoint busy_until_{};  // a thread that the system does not run
};

/// Executors that are stopped, resumed and killed together, as SIGSTOP, SIGCONT and SIGKILL do.
class SimProcess {
 public:
  SimProcess(SimWorld& world, std::string name, int32_t pid)
      : world_(world), name_(std::move(name)), pid_(pid) {}

  SimExecutor& add_executor();

  const std::string& name() const { return name_; }
  int32_t pid() const { return pid_; }
  bool is_alive() const { return !is_dead_; }
  bool is_running() const { return !is_dead_ && !is_stopped_; }

  /// Drops what it would still have run. Its memory may go after that.
  void forget_tasks();

  void stop() { is_stopped_ = true; }
  void resume() { is_stopped_ = false; }
  /// Nothing of it runs again. What waits for its death hears of it a moment later.
  void kill();
  /// Once, after kill(); soon when it is dead already.
  void when_dead(std::function<void()> heard);

 private:
  friend class SimWorld;

  SimWorld& world_;
  const std::string name_;
  const int32_t pid_;
  bool is_stopped_ = false;
  bool is_dead_ = false;
  std::vector<std::unique_ptr<SimExecutor>> executors_;
  std::vector<std::function<void()>> heard_;
};

/// Virtual time, processes, and the one thread that runs them: task by task, in an order drawn from
/// a seed. The same seed and the same program give the same run and the same log.
///
/// Threads: one
class SimWorld {
 public:
  /// Of one run_until(): hundreds of times what a healthy cluster needs.
  static constexpr uint64_t kMaxSteps = 2'000'000;

  explicit SimWorld(uint64_t seed);
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  SimProcess& add_process(std::string name);
  /// Null if there never was one.
  SimProcess* find_process(int32_t pid) const;

  const Clock& clock() const { return clock_; }
  TimePoint now() const { return clock_.now(); }
  SimRandom& random() { return random_; }

  /// Runs `event` outside all processes: a wire delivers, a process is stopped.
  void after(Duration delay, std::function<void()> event);

  /// Runs one task or event, at the next time that has one. False: none is left.
  bool step();
  /// True once `done` holds; false when nothing is left to run, `limit` has passed, or so much has
  /// run (kMaxSteps) that something must be spinning.
  bool run_until(const std::function<bool()>& done, TimePoint limit);

  /// After a task, with that chance, its executor runs nothing for up to `longest`.
  void set_lag(uint32_t per_million, Duration longest) {
    lag_ = per_million;
    longest_lag_ = longest;
  }

  /// Drops everything that would still have run.
  void forget_events();

  void count_fault() { ++faults_; }
  uint64_t faults() const { return faults_; }
  /// A line of the event log, with its time in front. Logging can be off: then this does nothing.
  void log(const std::function<std::string()>& line);
  void set_logging(bool on) { is_logging_ = on; }
  const std::vector<std::string>& event_log() const { return log_; }
  /// Of everything that ran, logged or not: what a replay must reproduce.
  uint64_t fingerprint() const { return fingerprint_; }
  /// Mixes a fact of the run into the fingerprint.
  void note(uint64_t fact);

 private:
  friend class SimExecutor;
  friend class SimProcess;
  class VirtualClock final : public Clock {
   public:
    TimePoint now() const override { return now_; }
    void set(TimePoint now) { now_ = now; }

   private:
    TimePoint now_ = TimePoint(std::chrono::hours(1));
  };
  struct Event {
    TimePoint when;
    uint64_t order;
    std::shared_ptr<std::function<void()>> run;
    bool operator<(const Event& other) const {
      return when != other.when ? when > other.when : order > other.order;
    }
  };

  void release_due();
  bool advance();
  void run(SimExecutor& executor);

  VirtualClock clock_;
  SimRandom random_;
  std::vector<std::unique_ptr<SimProcess>> processes_;
  std::priority_queue<Event> events_;
  uint64_t next_order_ = 1;
  SimExecutor* current_ = nullptr;
  uint32_t lag_ = 0;
  Duration longest_lag_{};
  uint64_t faults_ = 0;
  uint64_t fingerprint_ = 0;
  bool is_logging_ = false;
  std::vector<std::string> log_;
};

}  // namespace kvferry
