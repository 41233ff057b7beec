// Logs every operation and stores nothing: the example of the LMCache article on external backends.

#include <kvferry/backend_plugin.hpp>
#include <string>
#include <vector>

namespace {

namespace plugin = kvferry::plugin;

class ExternalLogBackend final : public plugin::Backend {
 public:
  static constexpr const char* kClassName = "ExternalLogBackend";
  static constexpr plugin::Traits kTraits = {.retains = false, .pins = true, .persists = false};

  ExternalLogBackend(plugin::Host host, const std::string& name) : Backend(host) {
    host.log_info("ExternalLogBackend initialized as " + name);
  }

  bool contains(std::string_view key) override {
    log("Checking contains for key", key);
    return false;
  }

  void put(std::string_view key, const plugin::ChunkView& chunk) override {
    const size_t size = chunk.payload.size();
    host().log_info("ExternalLogBackend Put task for key: " + std::string(key) +
                    ", size: " + std::to_string(size));
    host().add_counter("logged_put_bytes", size);
  }

  void submit_get(std::vector<plugin::GetRequest> requests, const plugin::CallInfo& info) override {
    for (plugin::GetRequest& request : requests) {
      log(info.is_prefetch ? "Prefetch task for key" : "Get for key", request.key());
      request.missing();
    }
  }

  bool pin(std::string_view key, uint64_t /*owner*/, bool is_unpin) override {
    log(is_unpin ? "Unpin for key" : "Pin for key", key);
    return false;
  }

  bool remove(std::string_view key, bool /*force*/) override {
    log("Remove for key", key);
    return false;
  }

 private:
  void log(const std::string& what, std::string_view key) {
    host().log_info("ExternalLogBackend " + what + ": " + std::string(key));
  }
};

}  // namespace

KVFERRY_EXPORT_BACKENDS(LOG_BACKEND_VERSION, ExternalLogBackend);
