// Runs `kvferry plugin check` as a backend's author does.

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "workload/processes/subprocess.h"
#include "workload/processes/temp_dir.h"

namespace kvferry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::chrono::seconds kRunLimit(200);

class PluginCheck : public ::testing::Test {
 protected:
  static Subprocess run(std::vector<std::string> words) {
    words.insert(words.begin(), {KVFERRY_TOOL, "plugin", "check"});
    return Subprocess(words);
  }

  /// The report of a check of a library, with more flags.
  nlohmann::json check(const std::string& library, const std::vector<std::string>& more,
                       int expected_code) {
    std::vector<std::string> words = {library, "--json", folder.file("check.json")};
    words.insert(words.end(), more.begin(), more.end());
    Subprocess run = PluginCheck::run(words);
    EXPECT_EQ(run.wait(kRunLimit), expected_code) << run.out() << run.err();
    out = run.out();
    std::ifstream file(folder.file("check.json"));
    return nlohmann::json::parse(file, nullptr, false);
  }

  static nlohmann::json find_case(const nlohmann::json& report, const std::string& name) {
    for (const auto& each : report.at("cases")) {
      if (each.at("name") == name) return each;
    }
    ADD_FAILURE() << "no case " << name;
    return {};
  }

  /// What a check said that could not even begin.
  static std::string refusal(const std::vector<std::string>& words) {
    Subprocess refused = run(words);
    EXPECT_EQ(refused.wait(kRunLimit), 2) << refused.out();
    EXPECT_EQ(refused.out(), "");
    EXPECT_EQ(std::ranges::count(refused.err(), '\n'), 1) << refused.err();
    return refused.err();
  }

  TempDir folder;
  std::string out;
};

TEST_F(PluginCheck, PassesAnHonestBackend) {
  const auto report = check(C_BACKEND, {}, 0);
  EXPECT_EQ(report["class"], "CMemoryBackend");
  EXPECT_EQ(report["failed"], 0);
  EXPECT_TRUE(report["traits"]["retains"]);
  EXPECT_GT(report["cases"].size(), 20U);
  EXPECT_GT(report["put_gb_per_s"], 0);
  EXPECT_THAT(out, HasSubstr("It keeps the contract."));
}

TEST_F(PluginCheck, NamesTheCasesThatABrokenBackendFails) {
  const auto report = check(BROKEN_PLUGIN, {"--set", "fault=puts_no"}, 1);
  EXPECT_GT(report["failed"], 0);
  const auto failed = find_case(report, "EachShapeComesBack");
  EXPECT_EQ(failed["verdict"], "FAIL");
  EXPECT_THAT(std::string(failed["text"]), HasSubstr("KVFERRY_NO"));
}

TEST_F(PluginCheck, FindsBadMannersThatTheContractCannotSee) {
  const auto report = check(BROKEN_PLUGIN, {"--set", "fault=unknown_items"}, 1);
  EXPECT_EQ(report["failed"], 1);
  EXPECT_EQ(report["cases"].back()["name"], "BreaksNoRuleOnTheWay");
  EXPECT_THAT(std::string(report["cases"].back()["text"]), HasSubstr("external_violations"));
}

TEST_F(PluginCheck, RefusesWhatItCannotLoad) {
  EXPECT_THAT(refusal({folder.file("absent.so")}), HasSubstr("absent.so' is not a file"));
  EXPECT_THAT(refusal({C_BACKEND, "--class", "Other"}), HasSubstr("CMemoryBackend"));
  EXPECT_THAT(refusal({C_BACKEND, "--set", "max_bytes"}),
              HasSubstr("'max_bytes' is not KEY=VALUE"));
  EXPECT_THAT(refusal({C_BACKEND, "--set", "max_bytes=many"}),
              HasSubstr("max_bytes is 'many'; give a number"));
  EXPECT_THAT(refusal({C_BACKEND, "--timeout", "soon"}), HasSubstr("--timeout: 'soon'"));
  EXPECT_THAT(refusal({C_BACKEND, "--log", folder.file("no/log")}), HasSubstr("--log"));
}

TEST_F(PluginCheck, TakesClassAndSettingsFromAConfiguration) {
  const std::string config = folder.file("config.yaml");
  std::ofstream(config) << "external_backends: \"store\"\n"
                           "extra_config:\n"
                           "  external_backend.store.module_path: elsewhere\n"
                           "  external_backend.store.class_name: CMemoryBackend\n"
                           "  external_backend.store.max_bytes: many\n";
  EXPECT_THAT(refusal({C_BACKEND, "--config", config}), HasSubstr("max_bytes is 'many'"));
}

TEST_F(PluginCheck, RunsOneCaseAloneForADebugger) {
  Subprocess one = run({BROKEN_PLUGIN, "--set", "fault=answers_twice", "--case", "RemoveAnswers"});
  EXPECT_EQ(one.wait(kRunLimit), 0);
  EXPECT_THAT(one.out(), HasSubstr("PASS  RemoveAnswers"));
  EXPECT_THAT(refusal({C_BACKEND, "--case", "Nothing"}),
              AllOf(HasSubstr("no case 'Nothing'"), HasSubstr(" MixedTraffic ")));
  EXPECT_THAT(refusal({C_BACKEND, "--case", "HoldsNothing"}),
              HasSubstr("HoldsNothing is not for this backend"));
}

TEST_F(PluginCheck, KeepsTheLogOfAllCases) {
  const std::string log = folder.file("log");
  check(LOG_BACKEND, {"--log", log}, 0);
  std::ifstream file(log);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(text, AllOf(HasSubstr("OpensAndCloses info: external_backend_loaded"),
                          HasSubstr("EveryItemEndsOnce info: contract: ExternalLogBackend Put")));
  // Each operation of the article's backend, as the suite reached it.
  for (const char* operation :
       {"Put task for key: ", "Checking contains for key: ", "Get for key: ",
        "Prefetch task for key: ", "Pin for key: ", "Unpin for key: ", "Remove for key: "}) {
    EXPECT_THAT(text, HasSubstr("ExternalLogBackend " + std::string(operation)));
  }
}

TEST_F(PluginCheck, CrashInOneCaseIsNamedAndTheOthersStillRun) {
  const auto report = check(BROKEN_PLUGIN, {"--set", "fault=aborts_on_prefetch"}, 1);
  EXPECT_EQ(report["failed"], 2) << out;  // prefetches
  const auto failed = find_case(report, "PrefetchReachesTheHandler");
  EXPECT_EQ(failed["verdict"], "FAIL");
  EXPECT_THAT(std::string(failed["text"]),
              AllOf(HasSubstr("was killed by signal 6 (Aborted), at 0x"),
                    HasSubstr("addr2line -Cfe " BROKEN_PLUGIN " 0x")));
  EXPECT_EQ(find_case(report, "MixedTraffic")["verdict"], "PASS");
}

TEST_F(PluginCheck, HangOfTheProcessIsNamedAndStopped) {
  const auto report =
      check(BROKEN_PLUGIN, {"--set", "fault=hangs_at_exit_after_prefetch", "--timeout", "10"}, 1);
  EXPECT_THAT(std::string(find_case(report, "PrefetchReachesTheHandler")["text"]),
              AllOf(HasSubstr("did not end within 10 s and was stopped"),
                    HasSubstr("after the case was through")));
}

TEST_F(PluginCheck, ExitInTheMiddleOfACaseIsNoPass) {
  const auto report = check(BROKEN_PLUGIN, {"--set", "fault=exits_on_prefetch"}, 1);
  EXPECT_EQ(report["failed"], 2) << out;  // prefetches
  EXPECT_THAT(std::string(find_case(report, "PrefetchReachesTheHandler")["text"]),
              HasSubstr("ended with exit code 0"));
}

TEST_F(PluginCheck, CrashWhileLoadingIsARefusal) {
  EXPECT_THAT(refusal({BROKEN_PLUGIN, "--set", "fault=aborts_in_create"}),
              AllOf(HasSubstr("class BrokenBackend of"),
                    HasSubstr("in the constructor: its process was killed by signal 6")));
}

}  // namespace
}  // namespace kvferry
