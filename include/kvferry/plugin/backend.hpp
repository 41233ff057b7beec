#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvferry/plugin/requests.hpp"

namespace kvferry::plugin {

struct Traits {
  bool retains = true;    ///< what was put can be got until it is removed or evicted
  bool pins = false;      ///< pin() is overridden
  bool persists = false;  ///< what was put outlives the process
};

/// A storage backend. Two ways to write one, which mix:
///
/// - **one key at a time**: override contains(), put(), get(), remove() (and pin()); each answers
///   by returning, or throws. Calls come one after another, on one thread.
/// - **many at once, answered later**: override submit_contains() and so on; move each request to
///   where it is answered, on any thread.
///
/// A class has `static constexpr const char* kClassName`, may have `static constexpr Traits
/// kTraits`, and a constructor from Host (and, if it likes, the sink's name). The destructor ends
/// its own threads.
///
/// Threads: all calls on one thread of the backend's own.
class Backend {
 public:
  explicit Backend(Host host) : host_(host) {}
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  const Host& host() const { return host_; }

  // One key at a time.
  virtual bool contains(std::string_view /*key*/) { throw not_overridden("contains"); }
  virtual void put(std::string_view /*key*/, const ChunkView& /*chunk*/) {
    throw not_overridden("put");
  }
  /// Fills `request` (GetRequest::found) and returns true; false: not held.
  virtual bool get(std::string_view /*key*/, GetRequest& /*request*/) {
    throw not_overridden("get");
  }
  virtual bool remove(std::string_view /*key*/, bool /*force*/) { throw not_overridden("remove"); }
  virtual bool pin(std::string_view /*key*/, uint64_t /*owner*/, bool /*is_unpin*/) {
    throw not_overridden("pin");
  }

  // Many at once. What these throw ends the requests that they still hold.
  virtual void submit_contains(std::vector<Request> requests, const CallInfo& /*info*/) {
    for (Request& each : requests) answer(each, [&] { return contains(each.key()); });
  }
  virtual void submit_put(std::vector<PutRequest> requests, const CallInfo& /*info*/) {
    for (PutRequest& each : requests) {
      detail::guarded(
          [&] {
            put(each.key(), each.chunk());
            each.stored();
          },
          [&](kvferry_outcome outcome, const char* text) { each.fail(outcome, text); });
    }
  }
  virtual void submit_get(std::vector<GetRequest> requests, const CallInfo& /*info*/) {
    for (GetRequest& each : requests) {
      detail::guarded(
          [&] {
            if (!get(each.key(), each)) each.missing();
          },
          [&](kvferry_outcome outcome, const char* text) { each.fail(outcome, text); });
    }
  }
  virtual void submit_remove(std::vector<Request> requests, const CallInfo& info) {
    for (Request& each : requests) answer(each, [&] { return remove(each.key(), info.force); });
  }
  virtual void submit_pin(std::vector<Request> requests, const CallInfo& info) {
    for (Request& each : requests) {
      answer(each, [&] { return pin(each.key(), info.pin_owner, info.is_unpin); });
    }
  }

  /// The last call. End every open request, then call `closed`, from any thread; from then on
  /// touch no memory of the host's.
  virtual void close(std::function<void()> closed) { closed(); }

 private:
  static Error not_overridden(const char* what) {
    return {KVFERRY_UNIMPLEMENTED, std::string("the backend does not override ") + what + "()"};
  }
  template <typename Body>
  static void answer(Request& request, Body&& body) {
    detail::guarded(
        [&] { request.answer(body()); },
        [&](kvferry_outcome outcome, const char* text) { request.fail(outcome, text); });
  }

  const Host host_;
};

}  // namespace kvferry::plugin
