#include "runtime/plugin_folder.h"

#include <gmock/gmock.h>

#include <filesystem>

namespace kvferry {
namespace {

using testing::ElementsAre;

TEST(PluginFolder, LiesInThePrefixOfTheProgram) {
  const std::filesystem::path bin = std::filesystem::canonical("/proc/self/exe").parent_path();
  const std::filesystem::path folder = installed_plugin_folder();
  EXPECT_TRUE(folder.is_absolute());
  EXPECT_EQ(folder.filename(), "plugins");
  EXPECT_EQ(folder.parent_path().filename(), "kvferry");
  EXPECT_EQ(folder.string().rfind(bin.parent_path().string() + "/lib", 0), 0U) << folder;
}

TEST(PluginFolder, ComesAfterWhatIsConfigured) {
  PluginConfig config;
  config.search_path = {"/a", "/b"};
  EXPECT_THAT(plugin_search_path(config), ElementsAre("/a", "/b", installed_plugin_folder()));
}

}  // namespace
}  // namespace kvferry
