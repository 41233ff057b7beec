#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kvferry/plugin_abi.h"

// A backend that keeps chunks in memory, and does so wrongly in one way: its setting `fault`, else
// what it was compiled with. What is exported besides lets tests move it.

#ifndef KVFERRY_BROKEN_FAULT
#define KVFERRY_BROKEN_FAULT ""
#endif
#ifndef KVFERRY_BROKEN_ABI_MAJOR
#define KVFERRY_BROKEN_ABI_MAJOR KVFERRY_ABI_MAJOR
#endif

namespace {

struct Chunk {
  std::string header;
  std::string payload;
};

struct KeptItem {
  const kvferry_host* host;
  kvferry_item item;
  void* payload;
  size_t payload_bytes;
};

// The library's, because tests reach it without an instance.
struct Controls {
  std::mutex mutex;
  std::condition_variable changed;
  bool is_released = false;
  int num_hanging = 0;
  std::vector<KeptItem> kept;
  int num_kept = 0;
};
Controls& controls() {
  static Controls& instance = *new Controls();  // outlives threads that hang in it
  return instance;
}

void hang() {
  Controls& c = controls();
  std::unique_lock lock(c.mutex);
  ++c.num_hanging;
  c.changed.wait(lock, [&c] { return c.is_released; });
  --c.num_hanging;
}

}  // namespace

extern "C" {

/// Lets calls that hang return, now and from now on; false: no more.
KVFERRY_PLUGIN_EXPORT void broken_release(bool is_released) {
  Controls& c = controls();
  const std::lock_guard lock(c.mutex);
  c.is_released = is_released;
  c.changed.notify_all();
}

/// Calls that hang right now.
KVFERRY_PLUGIN_EXPORT int broken_num_hanging() {
  const std::lock_guard lock(controls().mutex);
  return controls().num_hanging;
}

/// Writes into the memory of every item that was kept, then answers it with KVFERRY_OK.
KVFERRY_PLUGIN_EXPORT void broken_answer_kept() {
  std::vector<KeptItem> kept;
  {
    const std::lock_guard lock(controls().mutex);
    kept = std::exchange(controls().kept, {});
  }
  for (const KeptItem& each : kept) {
    if (each.payload != nullptr) std::memset(each.payload, 0x5a, each.payload_bytes);
    each.host->complete(each.host, each.item, KVFERRY_OK, nullptr);
  }
}

/// Items that were kept so far.
KVFERRY_PLUGIN_EXPORT int broken_num_kept() {
  const std::lock_guard lock(controls().mutex);
  return controls().num_kept;
}
}

struct kvferry_instance {
  const kvferry_host* host;
  std::string fault;
  std::map<std::string, Chunk> chunks;
  char* last_payload = nullptr;  // of the get before
  bool has_put = false;

  bool is(const char* name) const { return fault == name; }

  void complete(kvferry_item item, kvferry_outcome outcome, const char* message = nullptr) const {
    if (is("fails_all")) {
      outcome = KVFERRY_UNAVAILABLE;
      message = "the server\nis away";
    }
    if (is("fails_without_reason")) outcome = 99;
    if (is("fails_without_words")) {
      outcome = KVFERRY_UNAVAILABLE;
      message = "";
    }
    if (is("unknown_items")) host->complete(host, item + 1'000'000, KVFERRY_OK, nullptr);
    host->complete(host, item, outcome, message);
    if (is("answers_twice")) host->complete(host, item, KVFERRY_OK, nullptr);
  }
  /// Into memory that is not its own any more.
  void write_late() {
    if (last_payload != nullptr) *last_payload ^= 1;
  }
  bool keep(kvferry_item item, void* payload = nullptr, size_t payload_bytes = 0) const {
    if (!is("keeps_items") && !is("keeps_for_good")) return false;
    keep_anyway(item, payload, payload_bytes);
    return true;
  }
  void keep_anyway(kvferry_item item, void* payload = nullptr, size_t payload_bytes = 0) const {
    const std::lock_guard lock(controls().mutex);
    controls().kept.push_back({host, item, payload, payload_bytes});
    ++controls().num_kept;
  }
};

namespace {

std::string text(const kvferry_text& key) { return {key.data, key.size}; }
std::string text(const kvferry_bytes& bytes) {
  return {static_cast<const char*>(bytes.data), bytes.size};
}

kvferry_instance* create(const kvferry_host* host, const char*, char* error, size_t error_size) {
  const char* fault = host->setting(host, "fault");
  const std::string name = fault != nullptr ? fault : KVFERRY_BROKEN_FAULT;
  if (name == "hangs_in_create") hang();
  if (name == "aborts_in_create") std::abort();
  if (name == "throws_in_create") throw std::runtime_error("no such server");
  if (name == "fails_silently") return nullptr;
  if (name == "fails_in_create") {
    std::snprintf(error, error_size, "cannot reach 10.0.0.1");
    return nullptr;
  }
  if (name == "logs_much") {
    const std::string line = "two\nlines " + std::string(10'000, 'x');
    for (int i = 0; i < 5000; ++i) host->log(host, KVFERRY_LOG_INFO, line.c_str());
  }
  if (name == "counts_much") {
    host->add_counter(host, "external_timeouts", 7);
    host->add_counter(host, "Not A Name", 7);
    for (int i = 0; i < 1000; ++i) host->add_counter(host, ("n" + std::to_string(i)).c_str(), 1);
  }
  if (name == "keeps_thread") std::thread(hang).detach();
  return new kvferry_instance{host, name, {}};
}

void destroy(kvferry_instance* self) { delete self; }

void contains(kvferry_instance* self, const kvferry_call*, const kvferry_key_item* items,
              size_t count) {
  self->write_late();
  if (self->is("hangs")) hang();
  if (self->is("throws")) throw std::runtime_error("a bug");
  for (size_t i = 0; i < count; ++i) {
    if (self->keep(items[i].id)) continue;
    const bool is_held = self->chunks.count(text(items[i].key)) > 0;
    self->complete(items[i].id, is_held ? KVFERRY_OK : KVFERRY_NO);
  }
}

void put_one(kvferry_instance& self, const kvferry_chunk_item& item) {
  const std::string key = text(item.key);
  if (self.is("loses_puts")) return;
  if (self.is("stale") && self.chunks.count(key) > 0) return;
  if (self.is("leaks")) new std::string(text(item.payload));   // NOLINT
  self.chunks[key] = {text(item.header), text(item.payload)};  // NOLINT: leaks on purpose
}

void put(kvferry_instance* self, const kvferry_call*, const kvferry_chunk_item* items,
         size_t count) {
  for (size_t i = 0; i < count; ++i) {
    put_one(*self, items[i]);
    if (self->is("keeps_first_put") && !std::exchange(self->has_put, true)) {
      self->keep_anyway(items[i].id);
      continue;
    }
    self->complete(items[i].id, self->is("puts_no") ? KVFERRY_NO : KVFERRY_OK);
  }
}

/// What comes back for `chunk`, through the fault.
Chunk bent(const kvferry_instance& self, Chunk chunk) {
  if (self.is("wrong_size")) chunk.payload += "more";
  if (self.is("wrong_key")) chunk.header = self.chunks.begin()->second.header;
  if (self.is("bad_header")) chunk.header[20] ^= 1;
  if (self.is("long_header")) chunk.header += "more";
  if (self.is("short_header")) chunk.header.resize(10);
  if (self.is("bad_payload")) chunk.payload[5] ^= 1;
  return chunk;
}

void get_one(kvferry_instance& self, const kvferry_key_item& item) {
  if (self.is("crashes_in_get")) *static_cast<volatile char*>(nullptr) = 0;  // NOLINT
  const auto found = self.chunks.find(text(item.key));
  if (found == self.chunks.end()) {
    self.complete(item.id, KVFERRY_NO);
    return;
  }
  if (self.is("no_memory_asked")) {
    self.complete(item.id, KVFERRY_OK);
    return;
  }
  const Chunk chunk = bent(self, found->second);
  const size_t ask = self.is("impossible_size") ? size_t{1} << 50 : chunk.payload.size();
  void* header = nullptr;
  void* payload = nullptr;
  const kvferry_outcome outcome =
      self.host->allocate(self.host, item.id, chunk.header.size(), ask, &header, &payload);
  if (outcome != KVFERRY_OK) {
    self.complete(item.id, outcome, "no memory");
    return;
  }
  if (self.is("allocates_twice")) {
    void* second = nullptr;
    if (self.host->allocate(self.host, item.id, 10, 10, &second, &second) !=
        KVFERRY_FAILED_PRECONDITION) {
      self.complete(item.id, KVFERRY_INTERNAL, "got memory twice");
      return;
    }
  }
  std::memcpy(header, chunk.header.data(), chunk.header.size());
  std::memcpy(payload, chunk.payload.data(), chunk.payload.size());
  if (self.keep(item.id, payload, ask)) return;
  if (self.is("writes_late")) self.last_payload = static_cast<char*>(payload);
  self.complete(item.id, KVFERRY_OK);
}

/// What happens where two cases of the contract come, and no others.
void on_prefetch(const kvferry_instance& self) {
  if (self.is("aborts_on_prefetch")) std::abort();
  if (self.is("exits_on_prefetch")) std::_Exit(0);
  if (self.is("hangs_at_exit_after_prefetch")) std::atexit(hang);
}

void get(kvferry_instance* self, const kvferry_call* call, const kvferry_key_item* items,
         size_t count) {
  if (call->intent == KVFERRY_PREFETCH) on_prefetch(*self);
  for (size_t i = 0; i < count; ++i) get_one(*self, items[i]);
}

void remove(kvferry_instance* self, const kvferry_call*, const kvferry_key_item* items,
            size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const bool was_held = self->chunks.erase(text(items[i].key)) > 0;
    self->complete(items[i].id, was_held ? KVFERRY_OK : KVFERRY_NO);
  }
}

void close(kvferry_instance* self, kvferry_item item) {
  if (self->is("hangs_in_close")) hang();
  if (self->is("never_closes") || self->is("keeps_for_good")) return;
  self->complete(item, KVFERRY_OK);
}

/// Tells the test, which let it keep items, that it was asked to let go.
void cancel(kvferry_instance* self, kvferry_item) {
  self->host->add_counter(self->host, "cancels_seen", 1);
}

const kvferry_backend_class kBroken = {sizeof(kvferry_backend_class),
                                       "BrokenBackend",
                                       KVFERRY_RETAINS,
                                       0,
                                       create,
                                       destroy,
                                       contains,
                                       put,
                                       get,
                                       remove,
                                       nullptr,
                                       close,
                                       cancel};
const kvferry_backend_class* const kClasses[] = {&kBroken};
const kvferry_plugin kPlugin = {
    sizeof(kvferry_plugin), KVFERRY_BROKEN_ABI_MAJOR, KVFERRY_ABI_MINOR, "0", kClasses, 1};

}  // namespace

extern "C" KVFERRY_PLUGIN_EXPORT const kvferry_plugin* kvferry_plugin_query(void) {
  return &kPlugin;
}
