#include "backends/external/plugin_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/backends/external/plugin_bench.h"

namespace kvferry {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// A folder of the test's own, with a copy of a plugin in it.
class PluginLibrary : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "kvferry-plugin-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder = name;
    path = folder + "/libmemory.so";
    std::filesystem::copy_file(MEMORY_PLUGIN, path);
    ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  std::string folder;
  std::string path;
};

TEST_F(PluginLibrary, IsFoundByPathByNameAndByTheLastOfADottedName) {
  EXPECT_THAT(find_plugin_library(path, {}), IsOkAndHolds(path));
  const std::vector<std::string> folders = {"/nowhere", folder};
  for (const char* name : {"memory", "libmemory.so", "lmc_memory.memory"}) {
    EXPECT_THAT(find_plugin_library(name, folders), IsOkAndHolds(path)) << name;
  }
}

TEST_F(PluginLibrary, EarlierFolderWins) {
  const std::string other = folder + "/other";
  std::filesystem::create_directory(other);
  std::filesystem::copy_file(path, other + "/memory.so");
  EXPECT_THAT(find_plugin_library("memory", {other, folder}), IsOkAndHolds(other + "/memory.so"));
}

TEST_F(PluginLibrary, AbsentOneIsNamedWithWhatToSet) {
  EXPECT_THAT(find_plugin_library(folder + "/absent.so", {}),
              StatusIs(StatusCode::kNotFound, HasSubstr("absent.so' is not a file")));
  EXPECT_THAT(find_plugin_library("absent", {"/nowhere", folder}),
              StatusIs(StatusCode::kNotFound,
                       AllOf(HasSubstr("libabsent.so or absent.so is not in /nowhere, " + folder),
                             HasSubstr("KVFERRY_PLUGIN_PATH"), Not(HasSubstr("Python")))));
  EXPECT_THAT(find_plugin_library("", {folder}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("module_path is empty")));
}

TEST_F(PluginLibrary, PythonModuleIsToldApart) {
  EXPECT_THAT(
      find_plugin_library("lmc_external_log_backend.lmc_external_log_backend", {folder}),
      StatusIs(StatusCode::kNotFound, AllOf(HasSubstr("looks like a Python module of LMCache"),
                                            HasSubstr("liblmc_external_log_backend.so"),
                                            HasSubstr("KVFERRY_PLUGIN_PATH"))));
}

TEST_F(PluginLibrary, OneThatEverybodyMayWriteIsRefused) {
  EXPECT_THAT(trusted_plugin_file(path), IsOk());
  ASSERT_EQ(::chmod(path.c_str(), 0646), 0);
  EXPECT_THAT(load_plugin_class(path, "SimpleMemoryBackend"),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("writable for everybody")));
}

TEST_F(PluginLibrary, OneInAFolderThatEverybodyMayWriteIsRefused) {
  ASSERT_EQ(::chmod(folder.c_str(), 0777), 0);
  EXPECT_THAT(trusted_plugin_file(path),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("could replace")));
  ASSERT_EQ(::chmod(folder.c_str(), 01777), 0);  // sticky, as /tmp: nobody replaces another's
  EXPECT_THAT(trusted_plugin_file(path), IsOk());
}

TEST_F(PluginLibrary, LinkIsJudgedByWhatItPointsTo) {
  ASSERT_EQ(::chmod(path.c_str(), 0646), 0);
  const std::string link = folder + "/link.so";
  std::filesystem::create_symlink(path, link);
  EXPECT_THAT(trusted_plugin_file(link), StatusIs(StatusCode::kPermissionDenied));
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_THAT(trusted_plugin_file(link), IsOkAndHolds(std::filesystem::canonical(path).string()));
}

TEST_F(PluginLibrary, OneOfAnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  ASSERT_EQ(::chown(path.c_str(), 12345, 12345), 0);
  EXPECT_THAT(trusted_plugin_file(path),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("belongs to user 12345")));
}

TEST_F(PluginLibrary, ClassIsFoundByName) {
  const auto found = load_plugin_class(path, "ThreadedMemoryBackend");
  ASSERT_THAT(found, IsOk());
  EXPECT_STREQ(found->table.name, "ThreadedMemoryBackend");
  EXPECT_EQ(found->plugin_version, "1.2.3");
}

TEST_F(PluginLibrary, UnknownClassIsAnsweredWithTheKnownOnes) {
  EXPECT_THAT(load_plugin_class(path, "Memory"),
              StatusIs(StatusCode::kNotFound,
                       AllOf(HasSubstr("no class 'Memory'"),
                             HasSubstr("SimpleMemoryBackend, ThreadedMemoryBackend"))));
}

TEST_F(PluginLibrary, ClassNeedsNoNameIfThereIsOneOnly) {
  EXPECT_THAT(load_plugin_class(C_BACKEND, ""), IsOk());
  EXPECT_THAT(load_plugin_class(path, ""), StatusIs(StatusCode::kNotFound));
}

TEST_F(PluginLibrary, OtherLibrariesAndOtherFilesAreRefused) {
  EXPECT_THAT(
      load_plugin_class(NOT_A_PLUGIN, "X"),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("does not export kvferry_plugin_query()")));
  const std::string text = folder + "/text.so";
  std::ofstream(text) << "no library at all\n";
  EXPECT_THAT(load_plugin_class(text, "X"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("cannot be loaded")));
}

// ---- tables in hand

kvferry_backend_class good_table() {
  kvferry_backend_class table = load_plugin_class(C_BACKEND, "").value().table;
  table.size = sizeof(table);
  return table;
}

Result<PluginClass> find_in(const kvferry_backend_class& table, uint32_t major = KVFERRY_ABI_MAJOR,
                            uint32_t minor = KVFERRY_ABI_MINOR) {
  const kvferry_backend_class* const classes[] = {&table};
  const kvferry_plugin plugin = {sizeof(kvferry_plugin), major, minor, nullptr, classes, 1};
  return find_plugin_class(&plugin, "lib.so", "");
}

TEST(PluginTables, OtherMajorVersionIsRefused) {
  EXPECT_THAT(
      find_in(good_table(), KVFERRY_ABI_MAJOR + 1, 3),
      StatusIs(StatusCode::kUnimplemented, AllOf(HasSubstr("lib.so was built for version 2.3"),
                                                 HasSubstr("this kvferry has 1.0"))));
  EXPECT_THAT(find_in(good_table(), 0), StatusIs(StatusCode::kUnimplemented));
}

TEST(PluginTables, EveryEntryOf10MustBeThere) {
  kvferry_backend_class table = good_table();
  table.get = nullptr;
  EXPECT_THAT(find_in(table), StatusIs(StatusCode::kInvalidArgument, HasSubstr("has no get()")));
  table = good_table();
  table.traits |= KVFERRY_PINS;
  EXPECT_THAT(find_in(table), StatusIs(StatusCode::kInvalidArgument, HasSubstr("has no pin()")));
  table = good_table();
  table.size = offsetof(kvferry_backend_class, close);
  EXPECT_THAT(find_in(table), StatusIs(StatusCode::kInvalidArgument, HasSubstr("shorter than")));
}

TEST(PluginTables, NothingAtAllIsRefused) {
  EXPECT_THAT(find_plugin_class(nullptr, "lib.so", "X"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("returns NULL")));
  kvferry_plugin plugin = {sizeof(kvferry_plugin), KVFERRY_ABI_MAJOR, 0, nullptr, nullptr, 5};
  EXPECT_THAT(find_plugin_class(&plugin, "lib.so", "X"), StatusIs(StatusCode::kInvalidArgument));
  plugin.class_count = 0;
  EXPECT_THAT(find_plugin_class(&plugin, "lib.so", "X"),
              StatusIs(StatusCode::kNotFound, HasSubstr("none")));
}

TEST(PluginTables, TablesTooShortToBeReadAreRefused) {
  kvferry_backend_class table = good_table();
  table.size = offsetof(kvferry_backend_class, name);
  EXPECT_THAT(find_in(table), StatusIs(StatusCode::kNotFound, HasSubstr("none")));
  kvferry_plugin plugin = {0, KVFERRY_ABI_MAJOR, 0, nullptr, nullptr, 0};
  EXPECT_THAT(find_plugin_class(&plugin, "lib.so", "X"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("a table of 0 bytes")));
}

TEST(PluginTables, NamesOfAPluginStayOnOneLine) {
  kvferry_backend_class table = good_table();
  table.name = "a\nb\033[2J";
  const kvferry_backend_class* const classes[] = {&table};
  const std::string version(1000, '\n');
  const kvferry_plugin plugin = {sizeof(kvferry_plugin), KVFERRY_ABI_MAJOR, 0,
                                 version.c_str(),        classes,           1};
  EXPECT_THAT(find_plugin_class(&plugin, "lib.so", "X"),
              StatusIs(StatusCode::kNotFound, HasSubstr("has: a?b?[2J")));
  const auto found = find_plugin_class(&plugin, "lib.so", "");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->plugin_version, std::string(128, '?') + "...");
}

TEST(PluginTables, EarlierMinorVersionHasLessAndLaterMore) {
  for (const char* name : {"EarlierBackend", "LaterBackend"}) {
    PluginBench bench;
    ExternalOptions options;
    options.module_path = VERSIONS_PLUGIN;
    options.class_name = name;
    ASSERT_THAT(bench.open(options), IsOk());
    EXPECT_THAT(bench.put(1).first(), IsOk());
    EXPECT_THAT(bench.contains().first(), IsOkAndHolds(false));
    const auto got = bench.get(1);
    bench.contains().first();  // the get before it has reached the plugin
    bench.executor().advance(options.limits.timeout);
    EXPECT_THAT(got.first(), StatusIs(StatusCode::kDeadlineExceeded));
    EXPECT_TRUE(bench.close().first());
  }
}

}  // namespace
}  // namespace kvferry
