#include "tools/plugin/check_fixture.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "runtime/detached_thread.h"

namespace kvferry {
namespace {

constexpr std::string_view kFresh = "{fresh}";

}  // namespace

void CountedMetrics::add(std::string_view counter, uint64_t amount) {
  MutexLock lock(mutex_);
  counters_[std::string(counter)] += amount;
}

void CountedMetrics::set(std::string_view /*gauge*/, double /*value*/) {}

std::map<std::string, uint64_t> CountedMetrics::counters() const {
  MutexLock lock(mutex_);
  return counters_;
}

PluginCheckFixture::PluginCheckFixture(ExternalOptions options, BackendTraits traits)
    : options_(std::move(options)), traits_(traits) {}

PluginCheckFixture::~PluginCheckFixture() {
  std::error_code ignored;
  if (!root_.empty()) std::filesystem::remove_all(root_, ignored);
}

Result<std::unique_ptr<StorageBackend>> PluginCheckFixture::make(const BackendContext& context) {
  ++num_stores_;
  return reopen(context);
}

Result<std::unique_ptr<StorageBackend>> PluginCheckFixture::reopen(const BackendContext& context) {
  ExternalOptions options = options_;
  for (auto& [key, value] : options.settings) {
    const size_t at = value.find(kFresh);
    if (at == std::string::npos) continue;
    std::error_code error;
    if (root_.empty()) {
      std::string name = std::filesystem::temp_directory_path(error) / "kvferry-check-XXXXXX";
      if (::mkdtemp(name.data()) == nullptr) {
        return make_error(StatusCode::kUnavailable,
                          "no folder " + name + ": " + std::strerror(errno) + "; set TMPDIR");
      }
      root_ = name;
    }
    const std::string folder = root_ + "/" + std::to_string(num_stores_);
    std::filesystem::create_directories(folder, error);
    value.replace(at, kFresh.size(), folder);
  }
  BackendContext with_threads = context;
  with_threads.metrics = &metrics_;
  with_threads.logger = logger_;
  with_threads.start_thread = start_detached_thread;
  auto backend = make_external_backend(std::move(with_threads), options);
  if (backend && on_made_) on_made_();
  return backend;
}

}  // namespace kvferry
