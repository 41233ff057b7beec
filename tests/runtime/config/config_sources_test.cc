#include <gmock/gmock.h>

#include <cstdlib>

#include "runtime/config/lmcache_keys.h"
#include "runtime/config/schema.h"
#include "tests/runtime/config/load_text.h"
#include "tests/support/status_matchers.h"

namespace kvferry {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Environment = std::map<std::string, std::string>;

std::string origin(const LoadedConfig& loaded, std::string_view key) {
  for (const ConfigValue& value : loaded.effective) {
    if (value.key == key) return value.value + " from " + value.where;
  }
  return "no such key";
}

TEST(ConfigSources, FileThenEnvironmentThenFlag) {
  const char* text = "chunk_size: 16\nmax_local_cpu_size: 1\nkvferry:\n  disk_io: pread\n";
  const Environment environment = {{"KVFERRY_CHUNK_SIZE", "32"}, {"KVFERRY_DISK_IO", "io_uring"}};
  const auto loaded = load_text(text, environment, {"chunk_size=64", "kvferry.io_threads=7"});
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->config.chunk_tokens, 64);
  EXPECT_EQ(loaded->config.io_threads, 7);
  EXPECT_EQ(loaded->config.local_disk.io, DiskIo::kIoUring);
  EXPECT_EQ(origin(*loaded, "chunk_size"), "64 from --set chunk_size");
  EXPECT_EQ(origin(*loaded, "disk_io"), "io_uring from KVFERRY_DISK_IO");
  EXPECT_EQ(origin(*loaded, "max_local_cpu_size"), "1 from F:2");
  EXPECT_EQ(origin(*loaded, "local_cpu"), "True from default");
}

TEST(ConfigSources, EveryKeyCanComeFromTheEnvironment) {
  for (const KeySpec& spec : config_schema()) {
    if (spec.name == "remote_username") continue;  // goes with another key
    std::string variable = "KVFERRY_" + std::string(spec.name);
    for (char& c : variable) c = static_cast<char>(std::toupper(c));
    const auto loaded = load_text("", {{variable, "{a: [b"}});
    const bool takes_any_text = std::holds_alternative<TextField>(spec.field);
    EXPECT_EQ(loaded.has_value(), takes_any_text || spec.name == "plugin_path") << spec.name;
    if (loaded) continue;
    EXPECT_EQ(loaded.error().errors[0].where, variable);
  }
}

TEST(ConfigSources, LmcachesVariablesAreReadWithANotice) {
  const auto loaded = load_text("chunk_size: 16\n", {{"LMCACHE_CHUNK_SIZE", "32"},
                                                     {"LMCACHE_LOCAL_CPU", "False"},
                                                     {"LMCACHE_REMOTE_URL", "blackhole://a"},
                                                     {"KVFERRY_LOCAL_CPU", "True"},
                                                     {"LMCACHE_DISK_IO", "pread"},
                                                     {"LMCACHE_ENABLE_PD", "True"},
                                                     {"LMCACHE_LOG_LEVEL", "INFO"}});
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->config.chunk_tokens, 32);
  EXPECT_TRUE(loaded->config.local_cpu.is_tier);
  EXPECT_EQ(loaded->config.local_disk.io, DiskIo::kAuto);
  const auto warnings = lines(loaded->warnings);
  EXPECT_THAT(warnings, Contains("LMCACHE_CHUNK_SIZE: is read, too; kvferry's own name for it is "
                                 "KVFERRY_CHUNK_SIZE, and overrides it"));
  EXPECT_THAT(warnings, Contains(HasSubstr("LMCACHE_ENABLE_PD: key 'enable_pd' is LMCache's")));
  EXPECT_THAT(warnings, Contains(HasSubstr("LMCACHE_DISK_IO: is not read; is 'KVFERRY_DISK_IO'")));
  EXPECT_THAT(warnings, SizeIs(5));
}

TEST(ConfigSources, AVariableThatLooksLikeASlipIsAWarning) {
  const auto loaded = load_text("", {{"KVFERRY_CHUNK_SIZ", "1"}, {"KVFERRY_TEST_SEED", "1"}});
  ASSERT_TRUE(loaded.has_value());
  EXPECT_THAT(lines(loaded->warnings),
              ElementsAre("KVFERRY_CHUNK_SIZ: is not read; is 'KVFERRY_CHUNK_SIZE' meant?"));
}

TEST(ConfigSources, AnEmptyVariableIsTheDefault) {
  const auto loaded = load_text("chunk_size: 16\nlocal_disk: /a\nmax_local_disk_size: 1\n",
                                {{"KVFERRY_CHUNK_SIZE", ""}, {"KVFERRY_LOCAL_DISK", ""}});
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->config.chunk_tokens, 256);
  EXPECT_EQ(loaded->config.local_disk.path, "");
}

TEST(ConfigSources, EntriesOfExtraConfigAreOverriddenOneByOne) {
  const char* text =
      "external_backends: log\nextra_config:\n  external_backend.log.module_path: a\n"
      "  external_backend.log.class_name: Log\n"
      "  external_backend.log.level: info\n  external_backend.log.root: /a\n";
  const auto loaded =
      load_text(text, {{"KVFERRY_EXTRA_CONFIG", R"({"external_backend.log.level": "debug"})"}},
                {"extra_config.external_backend.log.root=/b"});
  ASSERT_TRUE(loaded.has_value());
  const ExternalBackendConfig& backend = loaded->config.external_backends.at(0);
  EXPECT_EQ(backend.module_path, "a");
  EXPECT_EQ(backend.settings.at("level"), "debug");
  EXPECT_EQ(backend.settings.at("root"), "/b");
  EXPECT_EQ(origin(*loaded, "extra_config.external_backend.log.level"),
            "debug from KVFERRY_EXTRA_CONFIG");
}

TEST(ConfigSources, AnOverriddenValueMustBeRightAllTheSame) {
  const auto loaded = load_text("chunk_size: many\n", {}, {"chunk_size=64"});
  ASSERT_FALSE(loaded.has_value());
  EXPECT_THAT(lines(loaded.error().errors), ElementsAre(HasSubstr("F:1: key 'chunk_size'")));
}

TEST(ConfigSources, FlagsSayWhatIsWrongWithThem) {
  const auto loaded = load_text(
      "", {},
      {"chunk_size", "=5", "chunk_sise=1", "io_threads=0", "extra_config={a", "enable_pd=True"});
  ASSERT_FALSE(loaded.has_value());
  EXPECT_THAT(lines(loaded.error().errors),
              ElementsAre("--set chunk_size: must be KEY=VALUE", "--set : must be KEY=VALUE",
                          HasSubstr("--set chunk_sise: key 'chunk_sise' is unknown; is"),
                          HasSubstr("--set extra_config: key 'extra_config': no valid YAML"),
                          HasSubstr("--set io_threads: key 'io_threads': '0' is no whole")));
  EXPECT_THAT(loaded.error().warnings, SizeIs(1));
}

TEST(ConfigSources, TheEnvironmentMayNameTheFile) {
  const TempFile ours("chunk_size: 16\n");
  const TempFile theirs("chunk_size: 32\n");
  Environment environment = {{"LMCACHE_CONFIG_FILE", theirs.path()}};
  auto loaded = load_config({.path = "", .environment = environment, .flags = {}});
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->config.chunk_tokens, 32);
  EXPECT_THAT(lines(loaded->warnings), ElementsAre(HasSubstr("LMCACHE_CONFIG_FILE: names")));
  environment["KVFERRY_CONFIG_FILE"] = ours.path();
  loaded = load_config({.path = "", .environment = environment, .flags = {}});
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->config.chunk_tokens, 16);
  EXPECT_THAT(loaded->warnings, IsEmpty());
  EXPECT_EQ(loaded->path, ours.path());
}

TEST(ConfigSources, SecretsAreNotShown) {
  const auto loaded = load_text(
      "remote_url: redis://me:hunter2%40@cache:6379/3\nexternal_backends: s\nextra_config:\n"
      "  external_backend.s.module_path: s.so\n  external_backend.s.class_name: S\n  "
      "external_backend.s.api_key: hunter2\n"
      "  external_backend.s.url: http://me:hunter2@s\n"
      "  external_backend.s.auth: {password: hunter2}\n");
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->config.remote.password, "hunter2@");
  EXPECT_EQ(loaded->config.remote.username, "me");
  EXPECT_EQ(loaded->config.external_backends.at(0).settings.at("api_key"), "hunter2");
  EXPECT_EQ(origin(*loaded, "remote_url"), "redis://me:***@cache:6379/3 from F:1");
  for (const ConfigValue& value : loaded->effective) {
    EXPECT_EQ(value.value.find("hunter2"), std::string::npos) << value.key;
  }
}

TEST(ConfigSources, LmcachesKeysAreEitherOursOrKnownNotToBe) {
  for (const LmcacheKey& key : lmcache_only_keys()) {
    EXPECT_EQ(find_key(key.name), nullptr) << key.name;
    const auto loaded = load_text(std::string(key.name) + ": 1\n");
    ASSERT_TRUE(loaded.has_value()) << key.name;
    EXPECT_THAT(lines(loaded->warnings),
                ElementsAre(HasSubstr("F:1: key '" + std::string(key.name) + "' is LMCache's")));
  }
}

class WarningLogger : public Logger {
 public:
  bool enabled(LogLevel /*level*/) const override { return true; }
  void log(LogLevel level, std::string_view line) override {
    EXPECT_EQ(level, LogLevel::kWarn);
    lines.emplace_back(line);
  }
  std::vector<std::string> lines;
};

TEST(LoadCacheConfig, GivesWarningsToTheLoggerAndErrorsBack) {
  const TempFile good("chunk_size: 16\nenable_pd: True\n");
  WarningLogger logger;
  const auto config = load_cache_config(good.path(), &logger);
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->chunk_tokens, 16);
  EXPECT_THAT(logger.lines, Contains(HasSubstr(":2 what=\"key 'enable_pd'")));
  const TempFile bad("chunk_size: 0\n");
  EXPECT_THAT(load_cache_config(bad.path(), nullptr),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr(":1: key 'chunk_size'")));
  EXPECT_THAT(load_cache_config("/nowhere/c.yaml", nullptr),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("cannot be read")));
}

}  // namespace
}  // namespace kvferry
