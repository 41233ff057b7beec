#include <gmock/gmock.h>

#include "tests/runtime/config/load_text.h"

namespace kvferry {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr size_t kGib = size_t{1} << 30;

/// The configuration of a text that must be right.
LoadedConfig load(std::string_view text) {
  auto loaded = load_text(text);
  if (!loaded) {
    for (const ConfigNotice& error : loaded.error().errors) ADD_FAILURE() << error.line();
    return {};
  }
  return *std::move(loaded);
}

TEST(ConfigForms, NothingMeansTheDefaults) {
  for (const char* text : {"", "\n", "# a comment\n", "---\n", "{}\n", "null\n", "kvferry:\n"}) {
    const LoadedConfig loaded = load(text);
    EXPECT_THAT(loaded.warnings, IsEmpty());
    EXPECT_EQ(loaded.config.chunk_tokens, 256);
    EXPECT_TRUE(loaded.config.local_cpu.is_tier);
    EXPECT_EQ(loaded.config.local_cpu.pool_bytes, 5 * kGib);
    EXPECT_EQ(loaded.config.retrieve_timeout, std::chrono::seconds(10));
    for (const ConfigValue& value : loaded.effective) EXPECT_EQ(value.where, "default");
  }
}

TEST(ConfigForms, HostMemory) {
  const LoadedConfig loaded = load(
      "# Basic configurations\nchunk_size: 256\n\n# CPU offloading\nlocal_cpu: true\n"
      "max_local_cpu_size: 2.5\ncache_policy: \"S3FIFO\"\nsave_unfull_chunk: True\n");
  EXPECT_EQ(loaded.config.local_cpu.pool_bytes, 5 * kGib / 2);
  EXPECT_EQ(loaded.config.policy, CachePolicy::kS3Fifo);
  EXPECT_TRUE(loaded.config.save_unfull_chunk);
  EXPECT_THAT(loaded.warnings, IsEmpty());
}

TEST(ConfigForms, Disk) {
  for (const char* path : {"\"file:///local/disk_test/\"", "file:///local/disk_test",
                           "/local/disk_test", "'/local/disk_test//'"}) {
    const LoadedConfig loaded = load(std::string("chunk_size: 256\nlocal_cpu: false\n"
                                                 "max_local_cpu_size: 5\nlocal_disk: ") +
                                     path + "\nmax_local_disk_size: 10\n");
    EXPECT_EQ(loaded.config.local_disk.path, "/local/disk_test");
    EXPECT_EQ(loaded.config.local_disk.max_bytes, 10 * kGib);
    EXPECT_FALSE(loaded.config.local_cpu.is_tier);
    EXPECT_EQ(loaded.config.local_cpu.pool_bytes, 5 * kGib);
  }
}

TEST(ConfigForms, NoDisk) {
  for (const char* none : {"null", "~", "", "False", "\"\""}) {
    const LoadedConfig loaded =
        load("local_disk: " + std::string(none) + "\nmax_local_disk_size: 0\n");
    EXPECT_EQ(loaded.config.local_disk.path, "");
    EXPECT_THAT(loaded.warnings, IsEmpty());
  }
}

TEST(ConfigForms, Redis) {
  const LoadedConfig loaded = load(
      "chunk_size: 256\nremote_url: \"redis://localhost:6379\"\nremote_serde: \"naive\"\n"
      "kvferry:\n  remote_timeout_ms: 250\n  remote_connections: 4\n");
  EXPECT_EQ(loaded.config.remote.kind, RemoteKind::kRedis);
  EXPECT_EQ(loaded.config.remote.host, "localhost");
  EXPECT_EQ(loaded.config.remote.port, 6379);
  EXPECT_EQ(loaded.config.remote.timeout, std::chrono::milliseconds(250));
  EXPECT_EQ(loaded.config.remote.connections, 4);
}

TEST(ConfigForms, SharedDirectory) {
  for (const char* url : {"fs://host:0/mnt/shared/kv/", "fs:///mnt/shared/kv"}) {
    const LoadedConfig loaded = load("remote_url: " + std::string(url) +
                                     "\nextra_config:\n  fs_connector_read_ahead_size: 8192\n");
    EXPECT_EQ(loaded.config.remote.kind, RemoteKind::kFs);
    EXPECT_EQ(loaded.config.remote.path, "/mnt/shared/kv");
    EXPECT_THAT(lines(loaded.warnings),
                ElementsAre(HasSubstr("F:3: key 'fs_connector_read_ahead_size' of extra_config")));
  }
}

TEST(ConfigForms, ExternalBackendOfTheArticle) {
  const LoadedConfig loaded = load(R"(chunk_size: 64
local_cpu: False
max_local_cpu_size: 5
external_backends: "log_external_backend"
extra_config:
  external_backend.log_external_backend.module_path: lmc_external_log_backend.lmc_external_log_backend
  external_backend.log_external_backend.class_name: ExternalLogBackend
)");
  EXPECT_THAT(loaded.warnings, IsEmpty());
  EXPECT_EQ(loaded.config.chunk_tokens, 64);
  EXPECT_FALSE(loaded.config.local_cpu.is_tier);
  EXPECT_EQ(loaded.config.local_cpu.pool_bytes, 5 * kGib);
  ASSERT_THAT(loaded.config.external_backends, SizeIs(1));
  const ExternalBackendConfig& backend = loaded.config.external_backends[0];
  EXPECT_EQ(backend.name, "log_external_backend");
  EXPECT_EQ(backend.module_path, "lmc_external_log_backend.lmc_external_log_backend");
  EXPECT_EQ(backend.class_name, "ExternalLogBackend");
  EXPECT_TRUE(backend.is_required);
  EXPECT_THAT(backend.settings, IsEmpty());
}

TEST(ConfigForms, StoragePlugins) {
  const LoadedConfig loaded = load(R"(storage_plugins: [s3, log]
extra_config:
  storage_plugin.s3.module_path: libs3.so
  storage_plugin.s3.class_name: S3
  storage_plugin.s3.required: no
  storage_plugin.s3.region: eu
  storage_plugin.s3.pool.size: 8
  storage_plugin.s3.endpoints: [a, b]
  storage_plugin.s3.nothing: null
  storage_plugin.log.module_path: liblog.so
  storage_plugin.log.class_name: Log
)");
  EXPECT_THAT(loaded.warnings, IsEmpty());
  ASSERT_THAT(loaded.config.external_backends, SizeIs(2));
  const ExternalBackendConfig& backend = loaded.config.external_backends[0];
  EXPECT_FALSE(backend.is_required);
  EXPECT_THAT(backend.settings, UnorderedElementsAre(Pair("region", "eu"), Pair("pool.size", "8"),
                                                     Pair("endpoints", "[\"a\",\"b\"]")));
  EXPECT_EQ(loaded.config.external_backends[1].name, "log");
}

TEST(ConfigForms, BothListsFollowOneAnotherAsInTheFileAndTakeEitherPrefix) {
  const LoadedConfig loaded = load(R"(storage_plugins: c
external_backends: "b, a"
extra_config:
  external_backend.c.module_path: c.so
  storage_plugin.a.module_path: a.so
  external_backend.b.module_path: b.so
  storage_plugin.c.class_name: C
  external_backend.a.class_name: A
  external_backend.b.class_name: B
)");
  ASSERT_THAT(loaded.config.external_backends, SizeIs(3));
  EXPECT_EQ(loaded.config.external_backends[0].module_path, "c.so");
  EXPECT_EQ(loaded.config.external_backends[1].module_path, "b.so");
  EXPECT_EQ(loaded.config.external_backends[2].module_path, "a.so");
}

TEST(ConfigForms, PrefillToDecodeIsWarningsThatSayWhatToUse) {
  const auto loaded = load_text(R"(local_cpu: False
max_local_cpu_size: 0
max_local_disk_size: 0
remote_serde: NULL

enable_pd: True
transfer_channel: "nixl"
pd_role: "receiver"
pd_peer_host: "localhost"
pd_peer_init_port: [7300]
pd_peer_alloc_port: 7400
pd_buffer_size: 1073741824
pd_buffer_device: "cuda"
nixl_backends: [UCX]
)");
  ASSERT_FALSE(loaded.has_value());
  EXPECT_THAT(lines(loaded.error().errors), ElementsAre(HasSubstr("F:2: key 'max_local_cpu_size'")))
      << "LMCache's example has no pool";
  const auto warnings = lines(loaded.error().warnings);
  EXPECT_THAT(warnings, SizeIs(10));
  EXPECT_THAT(warnings, Contains("F:6: key 'enable_pd' is LMCache's, kvferry does not have it; it "
                                 "has no effect: prefill to decode goes by TransferEngine "
                                 "(docs/transfer-protocol.md)"));
  EXPECT_THAT(warnings, Contains(HasSubstr("F:1: there is no tier")));
}

TEST(ConfigForms, Peers) {
  const LoadedConfig loaded = load(R"(kvferry:
  peer_name: decode-1
  peer_listen: "[::1]:7000"
  peer_token_file: /run/secrets/token
  peers:
    - prefill-1=10.0.0.1:7000
    - prefill-2=10.0.0.2:7000
  peer_push: prefill-2
  peer_timeout_ms: 50
)");
  EXPECT_EQ(loaded.config.peer.host, "::1");
  EXPECT_EQ(loaded.config.peer.port, 7000);
  ASSERT_THAT(loaded.config.peer.peers, SizeIs(2));
  EXPECT_EQ(loaded.config.peer.peers[1].name, "prefill-2");
  EXPECT_EQ(loaded.config.peer.peers[1].host, "10.0.0.2");
  EXPECT_EQ(loaded.config.peer.push_to, "prefill-2");
  EXPECT_EQ(loaded.config.peer.timeout, std::chrono::milliseconds(50));
  EXPECT_THAT(loaded.warnings, SizeIs(KVFERRY_HAVE_UCX ? 0 : 1));
}

TEST(ConfigForms, PeersThatComeToNothingAreWarnings) {
  EXPECT_THAT(lines(load("kvferry: {peer_push: a}").warnings),
              ElementsAre(HasSubstr("'peer_push': has no effect without peers")));
  EXPECT_THAT(lines(load(R"(local_cpu: False
local_disk: /d
max_local_disk_size: 1
kvferry:
  peer_name: a
  peer_listen: "127.0.0.1:0"
  peer_token_file: /t
  transport: loopback
)")
                        .warnings),
              ElementsAre(HasSubstr("peers find nothing here")));
  EXPECT_THAT(lines(load(R"(kvferry:
  peer_name: a
  peers: [b=h:1]
  peer_token_file: /t
  transport: loopback
)")
                        .warnings),
              ElementsAre(HasSubstr("loopback reaches engines of this process only")));
}

TEST(ConfigForms, BoolsAsYaml11ReadsThem) {
  for (const char* text : {"True", "true", "TRUE", "yes", "Yes", "on", "ON", "1", "\"True\""}) {
    EXPECT_TRUE(load("use_layerwise: " + std::string(text)).config.use_layerwise) << text;
  }
  for (const char* text : {"False", "false", "FALSE", "no", "No", "off", "OFF", "0", "'no'"}) {
    EXPECT_FALSE(load("local_cpu: " + std::string(text)).config.local_cpu.is_tier) << text;
  }
}

TEST(ConfigForms, NumbersAsPeopleWriteThem) {
  EXPECT_EQ(load("chunk_size: \"64\"").config.chunk_tokens, 64);
  EXPECT_EQ(load("chunk_size: +64").config.chunk_tokens, 64);
  EXPECT_EQ(load("max_local_cpu_size: 5.0").config.local_cpu.pool_bytes, 5 * kGib);
  EXPECT_EQ(load("max_local_cpu_size: .5").config.local_cpu.pool_bytes, kGib / 2);
  EXPECT_EQ(load("max_local_cpu_size: 1e1").config.local_cpu.pool_bytes, 10 * kGib);
}

TEST(ConfigForms, JsonCrlfAndAByteOrderMarkAreYamlToo) {
  EXPECT_EQ(load("{\"chunk_size\": 64, \"local_cpu\": true}").config.chunk_tokens, 64);
  EXPECT_EQ(load("local_cpu: true\r\nchunk_size: 64\r\n").config.chunk_tokens, 64);
  EXPECT_EQ(load("\xef\xbb\xbf"
                 "chunk_size: 64\n")
                .config.chunk_tokens,
            64);
}

TEST(ConfigForms, AliasesAreRead) {
  const LoadedConfig loaded = load(
      "local_disk: &path \"/mnt/kv\"\nmax_local_disk_size: 1\nremote_url: blackhole://x\n"
      "kvferry:\n  remote_password_file: *path\n");
  EXPECT_EQ(loaded.config.remote.password_file, "/mnt/kv");
  EXPECT_EQ(loaded.config.remote.kind, RemoteKind::kBlackhole);
}

TEST(ConfigForms, BuiltinHashesAreReplacedWithAWarning) {
  const LoadedConfig loaded = load("pre_caching_hash_algorithm: builtin\n");
  EXPECT_THAT(lines(loaded.warnings), ElementsAre(HasSubstr("kvferry's keys are sha256_cbor")));
}

}  // namespace
}  // namespace kvferry
