#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kvferry/plugin/backend.hpp"

namespace kvferry::plugin::detail {

// Between the C table and a Backend. No exception passes these.

inline Backend& backend_of(kvferry_instance* instance) {
  return *reinterpret_cast<Backend*>(instance);
}

inline CallInfo info_of(const kvferry_call& call) {
  CallInfo info;
  info.deadline = std::chrono::nanoseconds(call.deadline_ns);
  info.is_prefetch = call.intent == KVFERRY_PREFETCH;
  info.force = call.force != 0;
  info.is_unpin = call.pin_op == KVFERRY_UNPIN;
  info.pin_owner = call.pin_owner;
  info.peer = std::string_view(call.peer.data, call.peer.size);
  return info;
}

inline void log_thrown(const Backend& backend, const std::string& where, const char* text) {
  try {
    backend.host().log_error(where + " threw: " + text);
  } catch (...) {  // out of memory: nothing can be said
  }
}

template <typename RequestType, typename Item>
void submit(kvferry_instance* instance, const kvferry_call* call, const Item* items, size_t count,
            void (Backend::*method)(std::vector<RequestType>, const CallInfo&)) noexcept {
  Backend& backend = backend_of(instance);
  guarded(
      [&] {
        std::vector<RequestType> requests;
        requests.reserve(count);
        for (size_t i = 0; i < count; ++i) requests.emplace_back(backend.host(), items[i]);
        (backend.*method)(std::move(requests), info_of(*call));
      },
      [&](kvferry_outcome, const char* text) { log_thrown(backend, "submit", text); });
}

template <typename Class>
concept HasTraits = requires {
  Class::kTraits;
};

template <typename Class>
struct ClassTable {
  static constexpr Traits traits() {
    if constexpr (HasTraits<Class>) {
      return Class::kTraits;
    } else {
      return {};
    }
  }

  static kvferry_instance* create(const kvferry_host* host, const char* name, char* error,
                                  size_t error_size) noexcept {
    kvferry_instance* instance = nullptr;
    guarded(
        [&] {
          Backend* backend = nullptr;
          if constexpr (std::is_constructible_v<Class, Host, std::string>) {
            backend = new Class(Host(host), std::string(name));
          } else {
            backend = new Class(Host(host));
          }
          instance = reinterpret_cast<kvferry_instance*>(backend);
        },
        [&](kvferry_outcome, const char* text) {
          if (error_size > 0) {
            std::strncpy(error, text, error_size - 1);
            error[error_size - 1] = '\0';
          }
        });
    return instance;
  }
  static void destroy(kvferry_instance* instance) noexcept { delete &backend_of(instance); }
  static void contains(kvferry_instance* instance, const kvferry_call* call,
                       const kvferry_key_item* items, size_t count) noexcept {
    submit<Request>(instance, call, items, count, &Backend::submit_contains);
  }
  static void put(kvferry_instance* instance, const kvferry_call* call,
                  const kvferry_chunk_item* items, size_t count) noexcept {
    submit<PutRequest>(instance, call, items, count, &Backend::submit_put);
  }
  static void get(kvferry_instance* instance, const kvferry_call* call,
                  const kvferry_key_item* items, size_t count) noexcept {
    submit<GetRequest>(instance, call, items, count, &Backend::submit_get);
  }
  static void remove(kvferry_instance* instance, const kvferry_call* call,
                     const kvferry_key_item* items, size_t count) noexcept {
    submit<Request>(instance, call, items, count, &Backend::submit_remove);
  }
  static void pin(kvferry_instance* instance, const kvferry_call* call,
                  const kvferry_key_item* items, size_t count) noexcept {
    submit<Request>(instance, call, items, count, &Backend::submit_pin);
  }
  static void close(kvferry_instance* instance, kvferry_item item) noexcept {
    Backend& backend = backend_of(instance);
    const kvferry_host* host = backend.host().table();
    guarded(
        [&] { backend.close([host, item] { host->complete(host, item, KVFERRY_OK, nullptr); }); },
        [&](kvferry_outcome outcome, const char* text) {
          log_thrown(backend, "close", text);
          host->complete(host, item, outcome, text);
        });
  }

  static constexpr uint32_t kFlags = (traits().retains ? uint32_t{KVFERRY_RETAINS} : 0) |
                                     (traits().pins ? uint32_t{KVFERRY_PINS} : 0) |
                                     (traits().persists ? uint32_t{KVFERRY_PERSISTS} : 0);
  static constexpr kvferry_backend_class kTable = {sizeof(kvferry_backend_class),
                                                   Class::kClassName,
                                                   kFlags,
                                                   0,
                                                   create,
                                                   destroy,
                                                   contains,
                                                   put,
                                                   get,
                                                   remove,
                                                   pin,
                                                   close,
                                                   nullptr};
};

template <typename... Classes>
const kvferry_plugin* plugin_of(const char* version) noexcept {
  static constexpr const kvferry_backend_class* kClasses[] = {&ClassTable<Classes>::kTable...};
  static const kvferry_plugin plugin = {
      sizeof(kvferry_plugin), KVFERRY_ABI_MAJOR, KVFERRY_ABI_MINOR, version, kClasses,
      sizeof...(Classes)};
  return &plugin;
}

}  // namespace kvferry::plugin::detail
