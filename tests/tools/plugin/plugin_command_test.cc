#include "tools/plugin/plugin_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace kvferry {
namespace {

using testing::HasSubstr;

/// What a command printed to stderr, and its exit code.
template <typename Flags>
std::pair<int, std::string> run(int (*command)(const Flags&), const Flags& flags) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = command(flags);
  testing::internal::GetCapturedStdout();
  return {code, testing::internal::GetCapturedStderr()};
}

class PluginCommand : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "kvferry-plugin-command-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  nlohmann::json check(const std::string& library, const std::vector<std::string>& settings,
                       int expected_code) {
    PluginCheckFlags flags;
    flags.library = library;
    flags.settings = settings;
    flags.json = folder_ + "/check.json";
    EXPECT_EQ(run(run_plugin_check, flags).first, expected_code);
    std::ifstream file(*flags.json);
    return nlohmann::json::parse(file);
  }

  std::string folder_;
};

TEST_F(PluginCommand, CheckPassesAnHonestBackend) {
  const auto report = check(C_BACKEND, {}, 0);
  EXPECT_EQ(report["class"], "CMemoryBackend");
  EXPECT_EQ(report["failed"], 0);
  EXPECT_TRUE(report["traits"]["retains"]);
  EXPECT_GT(report["cases"].size(), 20U);
}

TEST_F(PluginCommand, CheckNamesTheCasesThatABrokenBackendFails) {
  const auto report = check(BROKEN_PLUGIN, {"fault=puts_no"}, 1);
  EXPECT_GT(report["failed"], 0);
  bool is_named = false;
  for (const auto& each : report["cases"]) {
    if (each["name"] != "EachShapeComesBack") continue;
    is_named = true;
    EXPECT_EQ(each["verdict"], "FAIL");
    EXPECT_THAT(std::string(each["text"]), HasSubstr("KVFERRY_NO"));
  }
  EXPECT_TRUE(is_named);
}

TEST_F(PluginCommand, CheckFindsBadMannersThatTheContractCannotSee) {
  const auto report = check(BROKEN_PLUGIN, {"fault=unknown_items"}, 1);
  EXPECT_EQ(report["cases"].back()["name"], "BreaksNoRuleOnTheWay");
  EXPECT_THAT(std::string(report["cases"].back()["text"]), HasSubstr("external_violations"));
}

TEST_F(PluginCommand, CheckRefusesWhatItCannotLoad) {
  PluginCheckFlags flags;
  flags.library = folder_ + "/absent.so";
  auto [code, text] = run(run_plugin_check, flags);
  EXPECT_EQ(code, 2);
  EXPECT_THAT(text, HasSubstr("absent.so' is not a file"));

  flags.library = C_BACKEND;
  flags.class_name = "Other";
  std::tie(code, text) = run(run_plugin_check, flags);
  EXPECT_EQ(code, 2);
  EXPECT_THAT(text, HasSubstr("CMemoryBackend"));

  flags.class_name.reset();
  flags.settings = {"max_bytes"};
  std::tie(code, text) = run(run_plugin_check, flags);
  EXPECT_EQ(code, 2);
  EXPECT_THAT(text, HasSubstr("'max_bytes' is not KEY=VALUE"));

  flags.settings = {"max_bytes=many"};
  std::tie(code, text) = run(run_plugin_check, flags);
  EXPECT_EQ(code, 2);
  EXPECT_THAT(text, HasSubstr("max_bytes is 'many'; give a number"));
}

TEST_F(PluginCommand, CheckTakesClassAndSettingsFromAConfiguration) {
  const std::string config = folder_ + "/config.yaml";
  std::ofstream(config) << "external_backends: \"store\"\n"
                           "extra_config:\n"
                           "  external_backend.store.module_path: elsewhere\n"
                           "  external_backend.store.class_name: CMemoryBackend\n"
                           "  external_backend.store.max_bytes: many\n";
  PluginCheckFlags flags;
  flags.library = C_BACKEND;
  flags.config = config;
  const auto [code, text] = run(run_plugin_check, flags);
  EXPECT_EQ(code, 2);
  EXPECT_THAT(text, HasSubstr("max_bytes is 'many'"));
}

TEST_F(PluginCommand, NewWritesAProject) {
  PluginNewFlags flags{.name = "my_kv_store2", .folder = folder_ + "/project"};
  EXPECT_EQ(run(run_plugin_new, flags).first, 0);
  for (const char* name :
       {"CMakeLists.txt", "my_kv_store2.cc", "my_kv_store2_test.cc", "README.md"}) {
    std::ifstream file(*flags.folder + "/" + name);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    EXPECT_THAT(text, testing::Not(HasSubstr("@NAME@"))) << name;
    EXPECT_THAT(text, HasSubstr("MyKvStore2Backend")) << name;
  }
  const auto [code, text] = run(run_plugin_new, flags);
  EXPECT_EQ(code, 2);
  EXPECT_THAT(text, HasSubstr("project exists"));
}

TEST_F(PluginCommand, NewRefusesNamesThatAreNone) {
  for (const char* name : {"", "My", "1a", "a-b", "../a", "a b"}) {
    PluginNewFlags flags{.name = name, .folder = folder_ + "/x"};
    EXPECT_EQ(run(run_plugin_new, flags).first, 2) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/x"));
}

}  // namespace
}  // namespace kvferry
