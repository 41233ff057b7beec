#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/sim_cuda/sim_cuda.h"

namespace kvferry::sim_cuda {

/// A number that only grows, to wait for. A wait orders the waiter behind whoever set it, and
/// nothing else: it sleeps on the bare futex, which ThreadSanitizer does not take for an order.
class Progress {
 public:
  void set(uint32_t value);
  void wait_for(uint32_t value) const;
  bool has_reached(uint32_t value) const { return value_.load(std::memory_order_acquire) >= value; }
  /// Orders nothing.
  uint32_t peek() const { return value_.load(std::memory_order_relaxed); }

 private:
  mutable std::atomic<uint32_t> value_{0};
};

/// What cudaEventRecord left: reached when the stream came to it.
struct EventRecord {
  Progress reached;  // 1
  std::chrono::steady_clock::time_point at;
};

struct MemoryRange {
  uintptr_t begin = 0;
  size_t bytes = 0;

  bool overlaps(const MemoryRange& other) const {
    return begin < other.begin + other.bytes && other.begin < begin + bytes;
  }
};

/// A stream's thread and its queue.
///
/// Threads: any thread. The thread orders itself behind those who enqueue; they are ordered behind
///   it by wait() and is_idle() alone.
class Stream {
 public:
  Stream(int device, const Options& options, uint64_t number);
  /// Runs what is queued.
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  int device() const { return device_; }

  /// `uses`: memory that may not be freed before it has run.
  void enqueue(std::string name, std::vector<MemoryRange> uses, std::function<void()> run);
  void wait();
  bool is_idle() const;
  /// Name of what is queued and uses that memory, or empty.
  std::string user_of(const MemoryRange& range) const;

 private:
  struct Operation {
    uint32_t number = 0;
    std::string name;
    std::vector<MemoryRange> uses;
    std::function<void()> run;
    std::atomic<Operation*> next{nullptr};
  };

  void run_after(Operation* operation);

  const int device_;
  const Options options_;
  std::mt19937_64 random_;  // the thread's

  mutable std::mutex mutex_;  // of those who enqueue
  std::vector<std::unique_ptr<Operation>> operations_;
  Operation* last_;
  uint32_t enqueued_count_ = 0;
  Progress enqueued_;
  Progress completed_;
  std::thread thread_;
};

}  // namespace kvferry::sim_cuda
