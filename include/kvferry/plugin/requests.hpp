#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "kvferry/plugin/host.hpp"

namespace kvferry::plugin {

/// A chunk as it comes to put(): store both, give both back.
struct ChunkView {
  std::span<const std::byte> header;
  std::span<const std::byte> payload;
};

namespace detail {

/// The right to answer one item, once. An item that is dropped unanswered ends as an error.
class Answer {
 public:
  Answer(Host host, kvferry_item item) : host_(host), item_(item) {}
  Answer(Answer&& other) noexcept : host_(other.host_), item_(std::exchange(other.item_, 0)) {}
  Answer& operator=(Answer&& other) noexcept {
    if (this != &other) {
      drop();
      host_ = other.host_;
      item_ = std::exchange(other.item_, 0);
    }
    return *this;
  }
  ~Answer() { drop(); }

  void end(kvferry_outcome outcome, const char* message = nullptr) {
    const kvferry_item item = std::exchange(item_, 0);
    if (item != 0) host_.table()->complete(host_.table(), item, outcome, message);
  }
  const Host& host() const { return host_; }
  kvferry_item item() const { return item_; }

 private:
  void drop() { end(KVFERRY_INTERNAL, "the backend dropped the request without an answer"); }

  Host host_;
  kvferry_item item_ = 0;  // 0: answered
};

}  // namespace detail

/// A question about one key: move it to where it is answered. Ends exactly once, however.
///
/// Threads: any thread, one at a time.
class Request {
 public:
  Request(Host host, const kvferry_key_item& item)
      : answer_(host, item.id), key_(item.key.data, item.key.size) {}

  /// Valid until the answer.
  std::string_view key() const { return key_; }

  /// Held, removed, pinned; or not.
  void answer(bool yes) { answer_.end(yes ? KVFERRY_OK : KVFERRY_NO); }
  void fail(kvferry_outcome outcome, const std::string& message) {
    answer_.end(outcome, message.c_str());
  }

 private:
  detail::Answer answer_;
  std::string_view key_;
};

/// A chunk to be stored.
///
/// Threads: any thread, one at a time.
class PutRequest {
 public:
  PutRequest(Host host, const kvferry_chunk_item& item)
      : answer_(host, item.id),
        key_(item.key.data, item.key.size),
        chunk_{{static_cast<const std::byte*>(item.header.data), item.header.size},
               {static_cast<const std::byte*>(item.payload.data), item.payload.size}} {}

  // Valid until the answer.
  std::string_view key() const { return key_; }
  const ChunkView& chunk() const { return chunk_; }

  /// Every contains and get from now on finds it.
  void stored() { answer_.end(KVFERRY_OK); }
  void fail(kvferry_outcome outcome, const std::string& message) {
    answer_.end(outcome, message.c_str());
  }

 private:
  detail::Answer answer_;
  std::string_view key_;
  ChunkView chunk_;
};

/// A chunk that is wanted.
///
/// Threads: any thread, one at a time.
class GetRequest {
 public:
  GetRequest(Host host, const kvferry_key_item& item)
      : answer_(host, item.id), key_(item.key.data, item.key.size) {}

  struct Memory {
    std::span<std::byte> header;
    std::span<std::byte> payload;
  };

  /// Valid until the answer.
  std::string_view key() const { return key_; }

  /// The memory that the chunk goes to. Once; fill it, then found().
  /// Throws: Error when there is none, or nobody waits any more; end with that, or let it pass.
  Memory allocate(size_t header_bytes, size_t payload_bytes) {
    const kvferry_host* host = answer_.host().table();
    void* header = nullptr;
    void* payload = nullptr;
    const kvferry_outcome outcome =
        host->allocate(host, answer_.item(), header_bytes, payload_bytes, &header, &payload);
    if (outcome != KVFERRY_OK) {
      throw Error(outcome, "no memory for a chunk of " + std::to_string(payload_bytes) + " bytes");
    }
    return {{static_cast<std::byte*>(header), header_bytes},
            {static_cast<std::byte*>(payload), payload_bytes}};
  }

  /// allocate() was filled.
  void found() { answer_.end(KVFERRY_OK); }
  /// Copies a chunk that lies in memory. Throws as allocate().
  void found(const ChunkView& chunk) {
    const Memory memory = allocate(chunk.header.size(), chunk.payload.size());
    std::memcpy(memory.header.data(), chunk.header.data(), chunk.header.size());
    std::memcpy(memory.payload.data(), chunk.payload.data(), chunk.payload.size());
    found();
  }
  void missing() { answer_.end(KVFERRY_NO); }
  void fail(kvferry_outcome outcome, const std::string& message) {
    answer_.end(outcome, message.c_str());
  }

 private:
  detail::Answer answer_;
  std::string_view key_;
};

/// What the requests of one call have in common.
struct CallInfo {
  std::chrono::nanoseconds deadline{};  ///< on Host::now()
  bool is_prefetch = false;             ///< get: may be left for later
  bool force = false;                   ///< remove: pinned chunks, too
  bool is_unpin = false;                ///< pin
  uint64_t pin_owner = 0;               ///< pin
  std::string_view peer;                ///< put; valid during the call
};

}  // namespace kvferry::plugin
