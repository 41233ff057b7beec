#include "tools/plugin/plugin_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

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
    folder = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  std::string folder;
};

TEST_F(PluginCommand, NewWritesAProject) {
  PluginNewFlags flags{.name = "my_kv_store2", .folder = folder + "/project"};
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
  for (const char* name : {"", "My", "1a", "a-b", "../a", "a b", "test", "remote"}) {
    PluginNewFlags flags{.name = name, .folder = folder + "/x"};
    EXPECT_EQ(run(run_plugin_new, flags).first, 2) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(folder + "/x"));
}

}  // namespace
}  // namespace kvferry
