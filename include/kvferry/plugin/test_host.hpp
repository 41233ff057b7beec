#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvferry/plugin_abi.h"

namespace kvferry::plugin {

/// A host for a plugin's own tests: makes an instance and asks it, one item at a time, waiting for
/// each answer. `kvferry plugin check` asks much more, and less kindly.
///
/// Throws std::runtime_error where a test should fail: no such class, no instance, an error for an
/// outcome, no answer in time.
///
/// Threads: one; the plugin's threads may answer.
class TestHost {
 public:
  using Settings = std::map<std::string, std::string>;
  struct Chunk {
    std::string header;
    std::string payload;
    friend bool operator==(const Chunk&, const Chunk&) = default;
  };

  TestHost(const kvferry_plugin* plugin, std::string_view class_name, Settings settings = {})
      : settings_(std::move(settings)) {
    table_ = {
        sizeof(table_), KVFERRY_ABI_MAJOR, KVFERRY_ABI_MINOR, this, allocate, complete, log,
        add_counter,    set_gauge,         set_usage,         post, post_at,  now_ns,   setting,
        setting_at};
    for (size_t i = 0; i < plugin->class_count; ++i) {
      if (plugin->classes[i]->name == class_name) class_ = plugin->classes[i];
    }
    if (class_ == nullptr) throw std::runtime_error("no class " + std::string(class_name));
    char error[1024] = "";
    instance_ = class_->create(&table_, "test", error, sizeof(error));
    if (instance_ == nullptr) throw std::runtime_error(error);
  }
  ~TestHost() {
    class_->close(instance_, open());
    try {
      wait();
    } catch (const std::runtime_error&) {  // told by nothing but its destroy()
    }
    for (const Task& task : std::exchange(tasks_, {})) task.run(task.argument);
    class_->destroy(instance_);
  }
  TestHost(const TestHost&) = delete;
  TestHost& operator=(const TestHost&) = delete;

  bool contains(const std::string& key) { return ask(class_->contains, key); }
  bool remove(const std::string& key, bool force = true) {
    call_.force = force ? 1 : 0;
    return ask(class_->remove, key);
  }
  bool pin(const std::string& key, uint64_t owner = 0) {
    call_.pin_op = KVFERRY_PIN;
    call_.pin_owner = owner;
    return ask(class_->pin, key);
  }
  bool unpin(const std::string& key, uint64_t owner = 0) {
    call_.pin_op = KVFERRY_UNPIN;
    call_.pin_owner = owner;
    return ask(class_->pin, key);
  }
  void put(const std::string& key, const Chunk& chunk) {
    const kvferry_chunk_item item = {open(),
                                     {key.c_str(), key.size()},
                                     {chunk.header.data(), chunk.header.size()},
                                     {chunk.payload.data(), chunk.payload.size()}};
    class_->put(instance_, &call_, &item, 1);
    wait();
  }
  std::optional<Chunk> get(const std::string& key) {
    if (!ask(class_->get, key)) return std::nullopt;
    return std::move(chunk_);
  }

  /// What was logged so far.
  std::vector<std::string> log_lines() const {
    const std::lock_guard lock(mutex_);
    return log_lines_;
  }
  uint64_t counter(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = counters_.find(name);
    return found == counters_.end() ? 0 : found->second;
  }

 private:
  struct Task {
    void (*run)(void*);
    void* argument;
    uint64_t when_ns;
  };

  static TestHost& self(const kvferry_host* host) { return *static_cast<TestHost*>(host->data); }

  bool ask(void (*call)(kvferry_instance*, const kvferry_call*, const kvferry_key_item*, size_t),
           const std::string& key) {
    const kvferry_key_item item = {open(), {key.c_str(), key.size()}};
    call(instance_, &call_, &item, 1);
    return wait();
  }

  kvferry_item open() {
    const std::lock_guard lock(mutex_);
    is_answered_ = false;
    chunk_ = Chunk();
    call_.size = sizeof(call_);
    call_.deadline_ns = now_ns(&table_) + 10'000'000'000u;
    call_.peer = {"", 0};
    return ++open_item_;
  }

  /// Waits for the answer, and runs what the plugin posted. True for KVFERRY_OK, false for
  /// KVFERRY_NO.
  bool wait() {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    std::unique_lock lock(mutex_);
    while (run_due_task(lock) || !is_answered_) {
      if (std::chrono::steady_clock::now() > limit) throw std::runtime_error("no answer in 30 s");
      if (!is_answered_) changed_.wait_for(lock, std::chrono::milliseconds(1));
    }
    if (outcome_ > KVFERRY_OK) throw std::runtime_error(message_);
    return outcome_ == KVFERRY_OK;
  }

  bool run_due_task(std::unique_lock<std::mutex>& lock) {
    const uint64_t now = now_ns(&table_);
    const auto due = std::find_if(tasks_.begin(), tasks_.end(),
                                  [now](const Task& task) { return task.when_ns <= now; });
    if (due == tasks_.end()) return false;
    const Task task = *due;
    tasks_.erase(due);
    lock.unlock();
    task.run(task.argument);
    lock.lock();
    return true;
  }

  // The table.
  static kvferry_outcome allocate(const kvferry_host* host, kvferry_item, size_t header_bytes,
                                  size_t payload_bytes, void** header, void** payload) {
    Chunk& chunk = self(host).chunk_;
    chunk.header.resize(header_bytes);
    chunk.payload.resize(payload_bytes);
    *header = chunk.header.data();
    *payload = chunk.payload.data();
    return KVFERRY_OK;
  }
  static void complete(const kvferry_host* host, kvferry_item item, kvferry_outcome outcome,
                       const char* message) {
    TestHost& me = self(host);
    const std::lock_guard lock(me.mutex_);
    if (item != me.open_item_ || me.is_answered_) return;
    me.is_answered_ = true;
    me.outcome_ = outcome;
    me.message_ = message != nullptr ? message : "";
    me.changed_.notify_all();
  }
  static void log(const kvferry_host* host, int32_t, const char* line) {
    const std::lock_guard lock(self(host).mutex_);
    self(host).log_lines_.emplace_back(line);
  }
  static void add_counter(const kvferry_host* host, const char* name, uint64_t amount) {
    const std::lock_guard lock(self(host).mutex_);
    self(host).counters_[name] += amount;
  }
  static void set_gauge(const kvferry_host*, const char*, double) {}
  static void set_usage(const kvferry_host*, const kvferry_usage*) {}
  static kvferry_outcome post(const kvferry_host* host, void (*task)(void*), void* argument) {
    return post_at(host, 0, task, argument);
  }
  static kvferry_outcome post_at(const kvferry_host* host, uint64_t when_ns, void (*task)(void*),
                                 void* argument) {
    const std::lock_guard lock(self(host).mutex_);
    self(host).tasks_.push_back({task, argument, when_ns});
    return KVFERRY_OK;
  }
  static uint64_t now_ns(const kvferry_host*) {
    return static_cast<uint64_t>(
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
  }
  static const char* setting(const kvferry_host* host, const char* key) {
    const auto found = self(host).settings_.find(key);
    return found == self(host).settings_.end() ? nullptr : found->second.c_str();
  }
  static int32_t setting_at(const kvferry_host* host, size_t index, const char** key,
                            const char** value) {
    if (index >= self(host).settings_.size()) return 0;
    const auto found = std::next(self(host).settings_.begin(), static_cast<std::ptrdiff_t>(index));
    *key = found->first.c_str();
    *value = found->second.c_str();
    return 1;
  }

  const Settings settings_;
  kvferry_host table_{};
  kvferry_call call_{};
  const kvferry_backend_class* class_ = nullptr;
  kvferry_instance* instance_ = nullptr;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  kvferry_item open_item_ = 0;
  bool is_answered_ = false;
  kvferry_outcome outcome_ = KVFERRY_OK;
  std::string message_;
  Chunk chunk_;
  std::vector<Task> tasks_;
  std::vector<std::string> log_lines_;
  std::map<std::string, uint64_t> counters_;
};

}  // namespace kvferry::plugin
