#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/external/factory.h"
#include "conformance/backend_contract.h"
#include "kvferry/mutex.h"

namespace kvferry {

/// What instances of a plugin counted, all of them together.
///
/// Threads: any thread, internally locked
class CountedMetrics final : public BackendMetrics {
 public:
  void add(std::string_view counter, uint64_t amount) override;
  void set(std::string_view gauge, double value) override;
  std::map<std::string, uint64_t> counters() const KVFERRY_EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  std::map<std::string, uint64_t> counters_ KVFERRY_GUARDED_BY(mutex_);
};

/// Instances of one class of a plugin. Where a setting says {fresh}, each store gets an empty
/// folder of its own.
///
/// Threads: one
class PluginCheckFixture final : public BackendContractFixture {
 public:
  PluginCheckFixture(ExternalOptions options, BackendTraits traits);
  /// Removes the folders.
  ~PluginCheckFixture() override;

  Result<std::unique_ptr<StorageBackend>> make(const BackendContext& context) override;
  Result<std::unique_ptr<StorageBackend>> reopen(const BackendContext& context) override;
  BackendTraits traits() const override { return traits_; }
  /// The host ends every item by its deadline; what takes much longer hangs.
  Duration item_limit() const override {
    return std::max<Duration>(3 * options_.limits.timeout, std::chrono::seconds(3));
  }

  /// Takes what instances log. Borrowed; set before the first is made.
  void set_logger(Logger& logger) { logger_ = &logger; }
  /// Called whenever an instance has been made.
  void set_on_made(std::function<void()> on_made) { on_made_ = std::move(on_made); }
  const CountedMetrics& metrics() const { return metrics_; }

 private:
  const ExternalOptions options_;
  const BackendTraits traits_;
  CountedMetrics metrics_;
  Logger* logger_ = nullptr;
  std::function<void()> on_made_;
  std::string root_;  // of the folders; empty until one is needed
  int num_stores_ = 0;
};

}  // namespace kvferry
