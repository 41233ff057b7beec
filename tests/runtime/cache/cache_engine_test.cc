#include "kvferry/cache_engine.h"

#include <gmock/gmock.h>
#include <sys/socket.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/engine_pair.h"
#include "tests/support/eventually.h"
#include "tests/support/http_get.h"
#include "tests/support/open_fds.h"
#include "tests/support/recorded_log.h"
#include "tests/support/status_matchers.h"
#include "workload/engine/paged_kv_cache.h"
#include "workload/processes/server_process.h"
#include "workload/processes/temp_dir.h"

namespace kvferry {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

size_t count_threads() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

/// Sockets of this process on which it waits for connections.
size_t count_listeners() {
  size_t listeners = 0;
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
    int listens = 0;
    socklen_t size = sizeof(listens);
    const int fd = std::stoi(each.path().filename());
    if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0) {
      ++listeners;
    }
  }
  return listeners;
}

/// A cache engine from a configuration, as an integrator makes it.
class CacheEngineTest : public ::testing::Test {
 protected:
  CacheEngineTest() {
    pages.emplace(PagedKVCache::create(tiny_model(), tiny_model().preset, 64, 3).value());
    config.local_cpu.pool_bytes = size_t{16} << 20;
  }

  Result<std::unique_ptr<CacheEngine>> create() {
    CacheEngineOptions options;
    options.model = "tiny";
    options.pages = pages->layout();
    options.config = config;
    options.logger = &log;
    return CacheEngine::create(std::move(options));
  }
  void add_disk() {
    config.local_disk.path = directory.file("disk");
    config.local_disk.max_bytes = size_t{64} << 20;
  }
  void add_missing_plugin(bool is_required) {
    config.external_backends.push_back({.name = "absent",
                                        .module_path = directory.file("absent.so"),
                                        .class_name = "Absent",
                                        .is_required = is_required,
                                        .settings = {}});
  }
  static std::vector<std::string> names_of_sinks(const CacheEngine& engine) {
    std::vector<std::string> names;
    for (const SinkReport& sink : engine.stats().sinks) names.push_back(sink.name);
    return names;
  }

  const TempDir directory;
  std::optional<PagedKVCache> pages;
  RecordedLog log{LogLevel::kWarn};
  CacheConfig config;
};

#if KVFERRY_HAVE_PROMETHEUS
TEST_F(CacheEngineTest, ServesItsOwnFiguresAtMetricsPortUntilItEnds) {
  config.metrics.port = free_port();
  auto engine = create();
  while (!engine && engine.error().code() == StatusCode::kUnavailable) {
    config.metrics.port = free_port();  // somebody else took it
    engine = create();
  }
  ASSERT_THAT(engine, IsOk());
  const uint16_t port = (*engine)->metrics_port();
  EXPECT_EQ(port, config.metrics.port);
  EXPECT_THAT(http_get(port, "/metrics"), HasSubstr("kvferry_lookups_total 0\n"));
  const std::vector<uint32_t> tokens(512);
  (*engine)->lookup(tokens);
  const std::string text = http_get(port, "/metrics");
  EXPECT_THAT(text, HasSubstr("kvferry_lookups_total 1\n"));
  EXPECT_THAT(text, HasSubstr("kvferry_lookup_tokens_total 512\n"));
  EXPECT_THAT(text, HasSubstr("kvferry_pool_limit_bytes 16777216\n"));
  EXPECT_THAT(
      text, HasSubstr("kvferry_sink_queue_limit_items{sink=\"local_cpu\",queue=\"store\"} 256\n"));
  engine->reset();
  EXPECT_EQ(http_get(port, "/metrics"), "");
}
#endif

TEST_F(CacheEngineTest, NothingListensWithoutAMetricsPort) {
  const size_t before = count_listeners();
  const auto engine = create();
  ASSERT_THAT(engine, IsOk());
  EXPECT_EQ((*engine)->metrics_port(), 0);
  EXPECT_EQ(count_listeners(), before);
}

TEST_F(CacheEngineTest, GoesOnWithoutABackendThatIsNotRequiredAndSaysSo) {
  add_disk();
  add_missing_plugin(false);
  const auto engine = create();
  ASSERT_THAT(engine, IsOk());
  EXPECT_THAT(names_of_sinks(**engine), ElementsAre("local_cpu", "local_disk"));
  EXPECT_THAT(log.lines(), ElementsAre(HasSubstr("external_backend_left_out backend=absent")));
  EXPECT_THAT(log.lines(), Contains(HasSubstr("absent.so")));
  const std::vector<uint32_t> tokens(512);
  EXPECT_EQ((*engine)->lookup(tokens).tokens, 0);
}

TEST_F(CacheEngineTest, WithoutARequiredBackendItFailsAndLeavesNothingOpen) {
  add_disk();
  ASSERT_THAT(create(), IsOk());  // whatever stays open once
  const size_t fds = count_open_fds();
  const size_t threads = count_threads();
  add_missing_plugin(true);
  EXPECT_THAT(create(), StatusIs(StatusCode::kNotFound, HasSubstr("absent.so")));
  EXPECT_EQ(count_open_fds(), fds);
  EXPECT_TRUE(eventually([&] { return count_threads() == threads; }));

  config.external_backends.clear();
  const auto second = create();
  ASSERT_THAT(second, IsOk()) << "the directory is free at once";
  EXPECT_FALSE(create().has_value()) << "and is one engine's only";
  EXPECT_THAT(log.lines(), IsEmpty()) << "errors are returned, not logged";
}

}  // namespace
}  // namespace kvferry
