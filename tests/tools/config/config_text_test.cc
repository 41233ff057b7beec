#include "tools/config/config_text.h"

#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "runtime/config/schema.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ConfigText, TheDocumentHasTheSchemaAsItIs) {
  std::stringstream document;
  document << std::ifstream(KVFERRY_CONFIG_DOCUMENT).rdbuf();
  EXPECT_THAT(document.str(), HasSubstr(schema_text()))
      << "put the output of `kvferry config schema` into docs/config.md";
}

TEST(ConfigText, TheSchemaHasEveryKeyWithUnitDefaultAndRange) {
  EXPECT_THAT(schema_text(),
              HasSubstr("| `chunk_size` | whole number | tokens | 256 | 1 to 65536 | "));
  EXPECT_THAT(schema_text(), HasSubstr("| `disk_io` | text |  | auto | auto, io_uring, pread | "));
  const nlohmann::json json = schema_json();
  EXPECT_EQ(json.at("keys").size(), config_schema().size());
  EXPECT_EQ(json.at("keys").at(0).at("environment"), "KVFERRY_CHUNK_SIZE");
}

TEST(ConfigText, SaysWhichTiersWouldBeBuiltInTheirOrder) {
  CacheConfig config;
  config.local_disk = {.path = "/mnt/kv", .max_bytes = size_t{3} << 29};
  config.remote.kind = RemoteKind::kRedis;
  config.remote.host = "cache";
  config.remote.port = 6379;
  config.remote.password = "hunter2";
  ExternalBackendConfig log;
  log.name = "log";
  log.module_path = "liblog.so";
  config.external_backends.push_back(std::move(log));
  config.peer.peers = {{"prefill", "10.0.0.1", 7000}};
  config.peer.push_to = "prefill";
  const std::string text = built_text(config);
  const size_t cpu = text.find("1  local_cpu");
  const size_t peer = text.find("2  peer");
  const size_t disk = text.find("3  local_disk");
  const size_t remote = text.find("4  remote");
  const size_t backend = text.find("5  log");
  EXPECT_LT(cpu, peer);
  EXPECT_LT(peer, disk);
  EXPECT_LT(disk, remote);
  EXPECT_LT(remote, backend);
  EXPECT_NE(backend, std::string::npos);
  EXPECT_THAT(text, HasSubstr("memory   a pool of 5 GiB\n"));
  EXPECT_THAT(text,
              HasSubstr("prefill=10.0.0.1:7000, over ucx, 2 s an answer, pushes go to prefill"));
  EXPECT_THAT(text, HasSubstr("/mnt/kv, 1.5 GiB at most, LRU"));
  EXPECT_THAT(text, HasSubstr("redis://:***@cache:6379"));
  EXPECT_THAT(text, HasSubstr("; remote and external ones left alone for 1 s after 5 failures"));
  EXPECT_THAT(text, Not(HasSubstr("hunter2")));
}

TEST(ConfigText, SaysThatThePoolStaysWithoutTheTier) {
  CacheConfig config;
  config.local_cpu.is_tier = false;
  EXPECT_THAT(built_text(config),
              HasSubstr("memory   a pool of 5 GiB, for chunks on their way only\n"));
  EXPECT_THAT(built_text(config), HasSubstr("asked\n  none\n"));
}

TEST(ConfigText, EffectiveValuesStandInColumns) {
  LoadedConfig loaded;
  loaded.effective = {{"chunk_size", "64", "c.yaml:1"}, {"local_disk", "", "default"}};
  EXPECT_EQ(effective_text(loaded), "chunk_size  64  c.yaml:1\nlocal_disk  -   default\n");
}

}  // namespace
}  // namespace kvferry
