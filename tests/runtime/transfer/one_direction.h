#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/transfer/engine_context.h"
#include "transports/sim/sim_world.h"

namespace kvferry {

/// An executor of the simulation whose timers are counted.
class CountingExecutor final : public Executor {
 public:
  explicit CountingExecutor(SimExecutor& inner) : inner_(inner) {}

  void post(Task task) override { inner_.post(std::move(task)); }
  void post_at(TimePoint when, Task task) override {
    ++timers;
    inner_.post_at(when, [this, task = std::move(task)] {
      --timers;
      task();
    });
  }
  Status watch_fd(int fd, bool want_write, Task on_ready) override {
    return inner_.watch_fd(fd, want_write, std::move(on_ready));
  }
  void unwatch_fd(int fd) override { inner_.unwatch_fd(fd); }
  Status add_progress_source(ProgressSource* source) override {
    return inner_.add_progress_source(source);
  }
  void remove_progress_source(ProgressSource* source) override {
    inner_.remove_progress_source(source);
  }
  const Clock& clock() const override { return inner_.clock(); }
  bool is_current() const override { return inner_.is_current(); }

  int timers = 0;  ///< that have not fired yet

 private:
  SimExecutor& inner_;
};

class CountingLogger final : public Logger {
 public:
  bool enabled(LogLevel /*level*/) const override { return true; }
  void log(LogLevel /*level*/, std::string_view line) override { lines.emplace_back(line); }
  std::vector<std::string> lines;
};

/// What a ChunkSender or ChunkReceiver needs around it, on a virtual clock and without a peer: what
/// it says is kept.
class OneDirectionTest : public ::testing::Test {
 protected:
  OneDirectionTest() {
    context.options.name = "engine";
    context.options.logger = &logger;
  }

  void pass(Duration time) {
    bool has_passed = false;
    world.after(time, [&] { has_passed = true; });
    world.run_until([&] { return has_passed; }, world.now() + time);
  }
  static ChunkRef some_chunk(int64_t token_begin = 0) {
    ChunkRef ref;
    ref.key = CacheEngineKey::parse("model@1@0@" + std::string(64, 'e') + "@bfloat16").value();
    ref.token_begin = token_begin;
    ref.token_end = token_begin + 16;
    return ref;
  }

  SimWorld world{1};
  CountingExecutor executor{world.add_process("engine").add_executor()};
  CountingLogger logger;
  const std::unique_ptr<ProcessView> processes = make_system_process_view();
  const std::unique_ptr<MemoryPool> pool =
      MemoryPool::create({.slot_bytes = 4096, .num_slots = 2}).value();
  const std::unique_ptr<PageCopiers> copiers = PageCopiers::create({}).value();
  LeaseTable leases;
  TransferStats stats;
  FlightRecorder recorder{64};
  EngineContext context{.options = {},
                        .control = executor,
                        .data = executor,
                        .processes = *processes,
                        .copiers = *copiers,
                        .staging = *pool,
                        .landing = *pool,
                        .leases = leases,
                        .stats = stats,
                        .recorder = recorder,
                        .pump_soon = [] {}};
  std::vector<ControlMessage> said;
};

}  // namespace kvferry
