#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kvferry/cache_engine.h"
#include "kvferry/clock.h"

namespace kvferry {

/// How long something took, in buckets from 50 us to 10 s, as Prometheus counts it.
///
/// Threads: any thread.
class LatencyHistogram {
 public:
  static constexpr std::array kUpperBoundsUs = {
      50,     100,     250,     500,     1'000,     2'500,     5'000,     10'000,    25'000,
      50'000, 100'000, 250'000, 500'000, 1'000'000, 2'500'000, 5'000'000, 10'000'000};

  void add(Duration took) {
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
    size_t bucket = 0;
    while (bucket < kUpperBoundsUs.size() && us > kUpperBoundsUs.at(bucket)) ++bucket;
    counts_.at(bucket).fetch_add(1, std::memory_order_relaxed);
    sum_us_.fetch_add(static_cast<uint64_t>(us), std::memory_order_relaxed);
  }

  LatencyReport report() const {
    LatencyReport report;
    for (const int bound : kUpperBoundsUs) report.upper_bounds_seconds.push_back(bound / 1e6);
    for (const auto& count : counts_) {
      report.counts.push_back(count.load(std::memory_order_relaxed));
    }
    report.sum_seconds = static_cast<double>(sum_us_.load(std::memory_order_relaxed)) / 1e6;
    return report;
  }

 private:
  std::array<std::atomic<uint64_t>, kUpperBoundsUs.size() + 1> counts_{};
  std::atomic<uint64_t> sum_us_{0};
};

}  // namespace kvferry
