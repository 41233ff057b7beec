// Libraries that are broken in one way each, held against the contract by the command that their
// authors would use: each fails, in words that say what is wrong with it.

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "tests/support/temp_file.h"
#include "workload/processes/subprocess.h"

namespace kvferry {
namespace {

using ::testing::ContainsRegex;

constexpr std::chrono::seconds kRunLimit(280);

constexpr const char* kConfig = R"(external_backends: "acme"
extra_config:
  external_backend.acme.module_path: acme
  external_backend.acme.class_name: BrokenBackend
kvferry:
  plugin_timeout_ms: )";

struct Broken {
  const char* library;
  int exit_code;
  const char* said;  ///< a line of its output
  bool is_told_with_sanitizers = true;
  int timeout_ms = 5000;  ///< short where it hangs: that is waited for in most cases
};
void PrintTo(const Broken& broken, std::ostream* out) { *out << broken.library; }

class BrokenLibrary : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenLibrary, FailsInWordsThatSayWhatIsWrong) {
  const Broken& broken = GetParam();
  if (KVFERRY_SANITIZED && !broken.is_told_with_sanitizers) {
    GTEST_SKIP() << "sanitizers end such a process themselves";
  }
  const TempFile config(kConfig + std::to_string(broken.timeout_ms) + "\n", "config.yaml");
  const std::string library = std::string(BROKEN_FOLDER "/lib") + broken.library + ".so";
  Subprocess check({KVFERRY_TOOL, "plugin", "check", library, "--config", config.path()});
  EXPECT_EQ(check.wait(kRunLimit), broken.exit_code) << check.err();
  if (broken.exit_code == 2) {
    EXPECT_EQ(std::ranges::count(check.err(), '\n'), 1) << check.err();
    EXPECT_THAT(check.err(), ContainsRegex(broken.said));
  } else {
    EXPECT_THAT(check.out(), ContainsRegex(broken.said));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenLibrary,
    ::testing::Values(
        Broken{"broken_wrong_size", 1,
               "FAIL  EachShapeComesBack .*a get of chunk 0 ended with an error: .*returned a "
               "payload of 524292 bytes; 524288 were put with its header"},
        Broken{"broken_answers_twice", 1,
               "FAIL  BreaksNoRuleOnTheWay .*in EachShapeComesBack: answers item 1, which was "
               "answered already, during contains"},
        Broken{"broken_keeps_items", 1,
               "FAIL  EachShapeComesBack .*contains of .*: the plugin has returned from the call, "
               "but not completed the item by its deadline",
               true, 200},
        Broken{"broken_hangs", 1,
               "FAIL  EachShapeComesBack .*contains of .*: the plugin has not returned from the "
               "call by the deadline",
               true, 200},
        Broken{"broken_writes_late", 1,
               "FAIL  ObjectIsTheCallers .*the backend wrote into an object after the get that "
               "gave it had ended"},
        Broken{"broken_keeps_thread", 1,
               "FAIL  InstancesLeaveNothingBehind .*20 instances that were closed and destroyed "
               "left [0-9]+ threads behind"},
        Broken{"broken_leaks", 1,
               "FAIL  InstancesLeaveNothingBehind .*20 instances that were closed and destroyed "
               "left [0-9]+ bytes of memory behind",
               false},
        Broken{"broken_loses_puts", 1,
               "FAIL  EachShapeComesBack .*chunk 0 was put, and the put ended OK, but contains "
               "says no"},
        Broken{"broken_stale", 1,
               "FAIL  OverwritingGivesTheNewChunk .*chunk 0, version 1: a get gave version 0, "
               "which is stale"},
        Broken{"broken_crashes_in_get", 1,
               "FAIL  EachShapeComesBack .*its process was killed by signal 11 .*, at 0x[0-9a-f]+ "
               "of the library .addr2line -Cfe .*libbroken_crashes_in_get.so 0x",
               false},
        Broken{"broken_throws_in_create", 2,
               "the constructor of class BrokenBackend in .*libbroken_throws_in_create.so failed: "
               "it threw no such server"},
        Broken{"broken_abi_version", 2,
               "libbroken_abi_version.so was built for version 2.0 of kvferry/plugin_abi.h; this "
               "kvferry has 1.0. Build it again with its headers"},
        Broken{"not_a_plugin", 2,
               "libnot_a_plugin.so is no plugin: it does not export kvferry_plugin_query"},
        Broken{"unresolved_plugin", 2,
               "libunresolved_plugin.so cannot be loaded: .*undefined symbol: acme_connect"}),
    [](const auto& each) { return std::string(each.param.library); });

}  // namespace
}  // namespace kvferry
