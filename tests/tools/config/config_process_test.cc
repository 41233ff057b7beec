#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/temp_file.h"
#include "workload/processes/subprocess.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

constexpr std::chrono::seconds kRunLimit(60);

Subprocess run_config(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {KVFERRY_TOOL, "config"});
  return Subprocess(arguments);
}

TEST(ConfigProcess, SaysWhatWouldBeBuilt) {
  const TempFile file("chunk_size: 64\nlocal_disk: /mnt/kv\nmax_local_disk_size: 1\nmp_port: 1\n");
  Subprocess run =
      run_config({"check", file.path(), "--set", "max_local_disk_size=2", "--effective"});
  EXPECT_EQ(run.wait(kRunLimit), 0) << run.err();
  EXPECT_THAT(run.out(), HasSubstr("local_disk                /mnt/kv, 2 GiB at most"));
  EXPECT_THAT(run.out(), HasSubstr("--set max_local_disk_size\n"));
  EXPECT_THAT(run.out(), HasSubstr("\nwarning: " + file.path() + ":4: key 'mp_port'"));
  EXPECT_EQ(run.err(), "");
}

TEST(ConfigProcess, SaysWhatIsWrongOneALineOnStderr) {
  const TempFile file("chunk_size: 0\n\nlocal_cup: True\n");
  const TempFile json("", "json");
  Subprocess run = run_config({"check", file.path(), "--json", json.path()});
  EXPECT_EQ(run.wait(kRunLimit), 2);
  EXPECT_EQ(run.err(), file.path() + ":3: key 'local_cup' is unknown; is 'local_cpu' meant?\n" +
                           file.path() +
                           ":1: key 'chunk_size': '0' is no whole number from 1 to 65536 "
                           "(tokens)\n");
  std::ifstream stream(json.path());
  const nlohmann::json report = nlohmann::json::parse(stream);
  EXPECT_EQ(report.at("valid"), false);
  EXPECT_EQ(report.at("errors").size(), 2U);
}

TEST(ConfigProcess, WritesWhatItFound) {
  const TempFile file("remote_url: redis://:hunter2@cache\n");
  const TempFile json("", "json");
  Subprocess run = run_config({"check", file.path(), "--json", json.path(), "--effective"});
  EXPECT_EQ(run.wait(kRunLimit), 0) << run.err();
  std::ifstream stream(json.path());
  const nlohmann::json report = nlohmann::json::parse(stream);
  EXPECT_EQ(report.at("valid"), true);
  EXPECT_EQ(report.at("tiers").at(1).at("name"), "remote");
  EXPECT_EQ(report.dump().find("hunter2"), std::string::npos);
  EXPECT_EQ(run.out().find("hunter2"), std::string::npos);
}

TEST(ConfigProcess, PrintsTheSchema) {
  Subprocess run = run_config({"schema"});
  EXPECT_EQ(run.wait(kRunLimit), 0);
  EXPECT_THAT(run.out(), HasSubstr("| `chunk_size` |"));
}

TEST(ConfigProcess, NamesItsSubcommands) {
  Subprocess run = run_config({"chekc"});
  EXPECT_EQ(run.wait(kRunLimit), 2);
  EXPECT_THAT(run.err(), HasSubstr("'chekc' is not known here; the subcommands are check and "
                                   "schema (see kvferry config --help)"));
  Subprocess json = run_config({"check", "--json", "/nowhere/x.json"});
  EXPECT_EQ(json.wait(kRunLimit), 2);
  EXPECT_THAT(json.err(), HasSubstr("kvferry config check: --json"));
}

}  // namespace
}  // namespace kvferry
