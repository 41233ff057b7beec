#pragma once

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "kvferry/plugin_abi.h"

namespace kvferry::plugin {

/// What to throw to end an item with a certain outcome; other exceptions become KVFERRY_INTERNAL.
class Error : public std::runtime_error {
 public:
  Error(kvferry_outcome outcome, const std::string& message)
      : std::runtime_error(message), outcome_(outcome) {}
  kvferry_outcome outcome() const noexcept { return outcome_; }

 private:
  kvferry_outcome outcome_;
};

struct Usage {
  uint64_t entries = 0;
  uint64_t bytes = 0;
  uint64_t capacity_bytes = 0;  ///< 0: not bounded
  uint64_t pinned_entries = 0;
  uint64_t evicted_entries = 0;
};

/// What a backend may ask of the process it lives in. Copy it freely.
///
/// Threads: any thread, until the backend is destroyed. Nothing here waits.
class Host {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Host(const kvferry_host* table) : table_(table) {}
  const kvferry_host* table() const { return table_; }

  void log_debug(const std::string& line) const { log(KVFERRY_LOG_DEBUG, line); }
  void log_info(const std::string& line) const { log(KVFERRY_LOG_INFO, line); }
  void log_warn(const std::string& line) const { log(KVFERRY_LOG_WARN, line); }
  void log_error(const std::string& line) const { log(KVFERRY_LOG_ERROR, line); }

  void add_counter(const std::string& name, uint64_t amount = 1) const {
    table_->add_counter(table_, name.c_str(), amount);
  }
  void set_gauge(const std::string& name, double value) const {
    table_->set_gauge(table_, name.c_str(), value);
  }
  void set_usage(const Usage& usage) const {
    const kvferry_usage plain{sizeof(kvferry_usage), usage.entries,        usage.bytes,
                              usage.capacity_bytes,  usage.pinned_entries, usage.evicted_entries};
    table_->set_usage(table_, &plain);
  }

  /// The value of `external_backend.<name>.<key>`.
  std::optional<std::string> setting(const std::string& key) const {
    const char* value = table_->setting(table_, key.c_str());
    return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
  }
  std::string setting_or(const std::string& key, const std::string& otherwise) const {
    return setting(key).value_or(otherwise);
  }
  /// A setting that is a whole number. Throws: Error when it is none.
  uint64_t number_or(const std::string& key, uint64_t otherwise) const {
    const auto text = setting(key);
    if (!text) return otherwise;
    uint64_t number = 0;
    const char* const end = text->data() + text->size();
    const auto [read, error] = std::from_chars(text->data(), end, number);
    if (error == std::errc() && read == end) return number;
    throw Error(KVFERRY_INVALID_ARGUMENT, "'" + key + "' is '" + *text + "', no whole number");
  }
  /// A setting without which there can be no backend: call it from the constructor.
  std::string required_setting(const std::string& key) const {
    if (auto value = setting(key)) return *std::move(value);
    throw Error(KVFERRY_INVALID_ARGUMENT, "'" + key + "' is not set");
  }

  /// Runs `task` on the backend's own thread, soon or not before `delay` has passed. What it
  /// throws is logged. What waits when the backend has closed runs then, before its destructor.
  /// Throws: Error when too many wait already, or the backend has closed.
  void post(std::function<void()> task, std::chrono::nanoseconds delay = {}) const;

  /// Monotonic, on the clock of deadlines.
  std::chrono::nanoseconds now() const { return std::chrono::nanoseconds(table_->now_ns(table_)); }

 private:
  void log(int32_t level, const std::string& line) const {
    table_->log(table_, level, line.c_str());
  }

  const kvferry_host* table_;
};

namespace detail {

/// Runs `body`; what it throws becomes an outcome, given to `fail`.
template <typename Body, typename Fail>
void guarded(Body&& body, Fail&& fail) noexcept {
  try {
    body();
  } catch (const Error& error) {
    fail(error.outcome(), error.what());
  } catch (const std::bad_alloc&) {
    fail(KVFERRY_RESOURCE_EXHAUSTED, "out of memory");
  } catch (const std::exception& error) {
    fail(KVFERRY_INTERNAL, error.what());
  } catch (...) {
    fail(KVFERRY_INTERNAL, "an exception that is no std::exception");
  }
}

struct PostedTask {
  Host host;
  std::function<void()> body;

  static void run(void* argument) noexcept {
    const std::unique_ptr<PostedTask> task(static_cast<PostedTask*>(argument));
    guarded([&] { task->body(); },
            [&](kvferry_outcome, const char* text) {
              const kvferry_host* table = task->host.table();
              table->log(table, KVFERRY_LOG_ERROR, text);
            });
  }
};

}  // namespace detail

inline void Host::post(std::function<void()> task, std::chrono::nanoseconds delay) const {
  auto posted = std::make_unique<detail::PostedTask>(detail::PostedTask{*this, std::move(task)});
  const uint64_t when = table_->now_ns(table_) + static_cast<uint64_t>(delay.count());
  const kvferry_outcome outcome =
      delay.count() <= 0 ? table_->post(table_, detail::PostedTask::run, posted.get())
                         : table_->post_at(table_, when, detail::PostedTask::run, posted.get());
  if (outcome != KVFERRY_OK) throw Error(outcome, "too many tasks wait, or the backend is closed");
  posted.release();  // NOLINT(bugprone-unused-return-value): run() owns it now
}

}  // namespace kvferry::plugin
