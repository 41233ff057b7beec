#include "tools/plugin/plugin_templates.h"

namespace kvferry {
namespace {

constexpr std::string_view kCMakeLists = R"(cmake_minimum_required(VERSION 3.25)
project(@NAME@ VERSION 0.1.0 LANGUAGES CXX DESCRIPTION "kvferry storage backend @CLASS@")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)  # fast, and a crash can be traced to its line
endif()
find_package(kvferry REQUIRED)

add_library(@NAME@ MODULE @NAME@.cc)
target_link_libraries(@NAME@ PRIVATE kvferry::api)
set_target_properties(@NAME@ PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
install(TARGETS @NAME@ LIBRARY DESTINATION lib/kvferry/plugins)  # where kvferry looks

include(CTest)
if(BUILD_TESTING)
  add_executable(@NAME@_test @NAME@.cc @NAME@_test.cc)
  target_link_libraries(@NAME@_test PRIVATE kvferry::api)
  add_test(NAME @NAME@ COMMAND @NAME@_test)

  # The contract that kvferry's own backends keep.
  find_program(KVFERRY_TOOL kvferry HINTS ${kvferry_DIR}/../../../bin)
  if(KVFERRY_TOOL)
    add_test(NAME @NAME@.contract COMMAND ${KVFERRY_TOOL} plugin check $<TARGET_FILE:@NAME@>)
  endif()
endif()

# cpack: a .deb and a .tar.gz.
set(CPACK_GENERATOR TGZ DEB)
set(CPACK_PACKAGE_CONTACT "you")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
include(CPack)
)";

constexpr std::string_view kSource = R"(#include <kvferry/backend_plugin.hpp>
#include <map>
#include <string>
#include <vector>

namespace {

namespace plugin = kvferry::plugin;

/// Keeps chunks in memory, up to max_bytes. Replace what it keeps them in by your store.
///
/// All calls come on one thread, one key at a time. A store that is better asked for many at once,
/// and answers later, overrides submit_get() and so on instead.
class @CLASS@ final : public plugin::Backend {
 public:
  static constexpr const char* kClassName = "@CLASS@";
  static constexpr plugin::Traits kTraits = {.retains = true, .pins = false, .persists = false};

  explicit @CLASS@(plugin::Host host)
      : Backend(host), max_bytes_(host.number_or("max_bytes", 1073741824)) {}

  bool contains(std::string_view key) override { return chunks_.count(std::string(key)) > 0; }

  void put(std::string_view key, const plugin::ChunkView& chunk) override {
    drop(std::string(key));
    const size_t size = chunk.header.size() + chunk.payload.size();
    if (bytes_ + size > max_bytes_) {
      throw plugin::Error(KVFERRY_RESOURCE_EXHAUSTED, "max_bytes is reached; raise it");
    }
    bytes_ += size;
    chunks_[std::string(key)] = {{chunk.header.begin(), chunk.header.end()},
                                 {chunk.payload.begin(), chunk.payload.end()}};
    tell_usage();
  }

  bool get(std::string_view key, plugin::GetRequest& request) override {
    const auto found = chunks_.find(std::string(key));
    if (found == chunks_.end()) return false;
    request.found({found->second.header, found->second.payload});
    return true;
  }

  bool remove(std::string_view key, bool /*force*/) override { return drop(std::string(key)); }

 private:
  struct Chunk {
    std::vector<std::byte> header;
    std::vector<std::byte> payload;
  };

  bool drop(const std::string& key) {
    const auto found = chunks_.find(key);
    if (found == chunks_.end()) return false;
    bytes_ -= found->second.header.size() + found->second.payload.size();
    chunks_.erase(found);
    tell_usage();
    return true;
  }
  /// For reports and metrics. One that makes room by itself says its capacity, too.
  void tell_usage() const { host().set_usage({.entries = chunks_.size(), .bytes = bytes_}); }

  const size_t max_bytes_;
  size_t bytes_ = 0;
  std::map<std::string, Chunk> chunks_;
};

}  // namespace

KVFERRY_EXPORT_BACKENDS("0.1.0", @CLASS@);
)";

constexpr std::string_view kTest = R"(#include <cstdio>
#include <kvferry/plugin/test_host.hpp>

int main() {
  kvferry::plugin::TestHost host(kvferry_plugin_query(), "@CLASS@");
  const std::string key = "model@1@0@00112233445566778899aabbccddeeff@bfloat16";
  const kvferry::plugin::TestHost::Chunk chunk = {"header", "payload"};

  host.put(key, chunk);
  const bool is_right = host.contains(key) && host.get(key) == chunk && host.remove(key) &&
                        !host.contains(key) && !host.get(key).has_value();
  std::puts(is_right ? "ok" : "FAILED");
  return is_right ? 0 : 1;
}
)";

constexpr std::string_view kReadme = R"(# @NAME@

A storage backend for kvferry.

```
cmake -S . -B build -DCMAKE_PREFIX_PATH=<where kvferry is installed>
cmake --build build
ctest --test-dir build --output-on-failure
cmake --install build --prefix PREFIX    # or packages: (cd build && cpack)
```

In kvferry's configuration:

```yaml
external_backends: "@NAME@"
extra_config:
  external_backend.@NAME@.module_path: @NAME@   # in a folder of KVFERRY_PLUGIN_PATH, or a path
  external_backend.@NAME@.class_name: @CLASS@
  external_backend.@NAME@.max_bytes: 1073741824
```

`kvferry plugin check build/lib@NAME@.so` holds it against the contract of every backend.
)";

}  // namespace

const std::array<PluginTemplate, kNumPluginTemplates> kPluginTemplates = {{
    {"CMakeLists.txt", kCMakeLists},
    {"@NAME@.cc", kSource},
    {"@NAME@_test.cc", kTest},
    {"README.md", kReadme},
}};

}  // namespace kvferry
