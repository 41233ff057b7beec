#include <condition_variable>
#include <deque>
#include <kvferry/backend_plugin.hpp>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

// Two backends in memory, as an author would write them: one key at a time, with pins; and many at
// once, answered by a thread of its own.

namespace {

namespace plugin = kvferry::plugin;
using Bytes = std::vector<std::byte>;

struct Chunk {
  Bytes header;
  Bytes payload;
  std::multiset<uint64_t> pins;

  plugin::ChunkView view() const { return {header, payload}; }
};

Bytes copy(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

class SimpleMemoryBackend final : public plugin::Backend {
 public:
  static constexpr const char* kClassName = "SimpleMemoryBackend";
  static constexpr plugin::Traits kTraits = {.retains = true, .pins = true, .persists = false};
  using Backend::Backend;

  bool contains(std::string_view key) override { return chunks_.contains(std::string(key)); }

  void put(std::string_view key, const plugin::ChunkView& chunk) override {
    Chunk& held = chunks_[std::string(key)];
    held.header = copy(chunk.header);
    held.payload = copy(chunk.payload);
  }

  bool get(std::string_view key, plugin::GetRequest& request) override {
    const auto found = chunks_.find(std::string(key));
    if (found == chunks_.end()) return false;
    request.found(found->second.view());
    return true;
  }

  bool remove(std::string_view key, bool force) override {
    const auto found = chunks_.find(std::string(key));
    if (found == chunks_.end() || (!force && !found->second.pins.empty())) return false;
    chunks_.erase(found);
    return true;
  }

  bool pin(std::string_view key, uint64_t owner, bool is_unpin) override {
    const auto found = chunks_.find(std::string(key));
    if (found == chunks_.end()) return false;
    auto& pins = found->second.pins;
    if (!is_unpin) {
      pins.insert(owner);
      return true;
    }
    const auto pin = pins.find(owner);
    if (pin == pins.end()) return false;
    pins.erase(pin);
    return true;
  }

 private:
  std::map<std::string, Chunk> chunks_;
};

class ThreadedMemoryBackend final : public plugin::Backend {
 public:
  static constexpr const char* kClassName = "ThreadedMemoryBackend";

  explicit ThreadedMemoryBackend(plugin::Host host) : Backend(host), thread_([this] { run(); }) {}
  ~ThreadedMemoryBackend() override {
    give([this] { is_stopping_ = true; });
    thread_.join();
  }

  void submit_contains(std::vector<plugin::Request> requests, const plugin::CallInfo&) override {
    give_all(std::move(requests), [this](plugin::Request& request) {
      request.answer(chunks_.contains(std::string(request.key())));
    });
  }
  void submit_put(std::vector<plugin::PutRequest> requests, const plugin::CallInfo&) override {
    give_all(std::move(requests), [this](plugin::PutRequest& request) {
      Chunk& held = chunks_[std::string(request.key())];
      held.header = copy(request.chunk().header);
      held.payload = copy(request.chunk().payload);
      request.stored();
    });
  }
  void submit_get(std::vector<plugin::GetRequest> requests, const plugin::CallInfo&) override {
    give_all(std::move(requests), [this](plugin::GetRequest& request) {
      const auto found = chunks_.find(std::string(request.key()));
      if (found == chunks_.end()) {
        request.missing();
        return;
      }
      try {
        request.found(found->second.view());
      } catch (const plugin::Error& error) {
        request.fail(error.outcome(), error.what());
      }
    });
  }
  void submit_remove(std::vector<plugin::Request> requests, const plugin::CallInfo&) override {
    give_all(std::move(requests), [this](plugin::Request& request) {
      request.answer(chunks_.erase(std::string(request.key())) > 0);
    });
  }
  void close(std::function<void()> closed) override { give(std::move(closed)); }

 private:
  template <typename RequestType, typename Body>
  void give_all(std::vector<RequestType> requests, Body body) {
    auto shared = std::make_shared<std::vector<RequestType>>(std::move(requests));
    give([shared, body] {
      for (RequestType& request : *shared) body(request);
    });
  }
  void give(std::function<void()> task) {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    changed_.notify_one();
  }
  void run() {
    while (!is_stopping_) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !tasks_.empty(); });
      const auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
    }
  }

  std::map<std::string, Chunk> chunks_;  // the thread's
  bool is_stopping_ = false;             // the thread's

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  std::thread thread_;
};

}  // namespace

KVFERRY_EXPORT_BACKENDS("1.2.3", SimpleMemoryBackend, ThreadedMemoryBackend);
