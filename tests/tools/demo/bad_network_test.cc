// The demo between two network namespaces; what a bad link does to it for longer is
// scripts/bad_network's.

#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "workload/processes/subprocess.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;

constexpr auto kRunLimit = std::chrono::seconds(100);
constexpr int kNotPermitted = 77;

/// Starts bad_link; skips the test where that may not be.
class DemoOverBadLink : public ::testing::Test {
 protected:
  void link(const std::vector<std::string>& flags) {
    std::vector<std::string> words = flags;
    words.insert(words.begin(), KVFERRY_BAD_LINK);
    link_.emplace(words);
    const bool is_up = link_->read_until(
        [](const Subprocess& so_far) { return so_far.out().find('\n') != std::string::npos; },
        kRunLimit);
    if (!is_up) {
      ASSERT_EQ(link_->wait(kRunLimit), kNotPermitted) << link_->err();
      GTEST_SKIP() << link_->err();
    }
    std::istringstream line(link_->out());
    for (std::string word; line >> word;) ends_.push_back(word);
  }

  std::vector<std::string> demo(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {KVFERRY_TOOL, "demo", "--skip-ceilings", "--memory",
                                      "300MiB"};
    words.insert(words.end(), ends_.begin(), ends_.end());
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  /// Runs the demo, which must verify; its report.
  nlohmann::json run_verified(std::vector<std::string> flags) const {
    const std::string path =
        ::testing::TempDir() + "kvferry_bad_link_" + std::to_string(::getpid()) + ".json";
    flags.insert(flags.end(), {"--json", path});
    Subprocess run(demo(flags));
    EXPECT_EQ(run.wait(kRunLimit), 0) << run.err();
    std::ifstream file(path);
    nlohmann::json report = nlohmann::json::parse(file, nullptr, false);
    EXPECT_TRUE(report.value("verified", false));
    EXPECT_EQ(report.value("quarantined_bytes", -1), 0);
    return report;
  }

  /// The flags that put the workers at the ends of the link.
  std::vector<std::string>& ends() { return ends_; }

 private:
  std::vector<std::string> ends_;
  std::optional<Subprocess> link_;
};

TEST_F(DemoOverBadLink, VerifiesThoughPacketsAreLostAndLate) {
  link({"--loss", "1", "--delay", "5", "--jitter", "5"});
  if (IsSkipped()) return;
  const nlohmann::json report = run_verified({"--requests", "2", "--max-tokens", "300"});
  EXPECT_THAT(report.at("path").get<std::string>(), HasSubstr("tcp,self"));
  EXPECT_EQ(report.at("reconnects"), 0);
}

TEST_F(DemoOverBadLink, ConnectsAgainAndVerifiesAfterACut) {
  // Longer than the 5 s after which engines lose a silent peer.
  link({"--delay", "1", "--cut", "10", "--cut-after", "8000000"});
  if (IsSkipped()) return;
  const nlohmann::json report = run_verified({"--requests", "4", "--max-tokens", "2000"});
  EXPECT_GE(report.at("reconnects"), 1);
}

TEST_F(DemoOverBadLink, FlagsThatContradictTheNamespacesAreOneLineAndExitCode2) {
  link({});
  if (IsSkipped()) return;
  const auto expect_refused = [&](const std::vector<std::string>& flags, const char* expected) {
    Subprocess run(demo(flags));
    EXPECT_EQ(run.wait(kRunLimit), 2);
    EXPECT_EQ(run.out(), "") << "nothing is started";
    EXPECT_EQ(std::ranges::count(run.err(), '\n'), 1) << run.err();
    EXPECT_THAT(run.err(), HasSubstr(expected));
  };
  expect_refused({"--path", "shm"}, "--path: 'shm' goes round the network");
  const auto host = std::ranges::find(ends(), "--host");
  ends().erase(host, host + 2);
  expect_refused({}, "--host: give prefill's address");
}

TEST_F(DemoOverBadLink, AnAddressThatPrefillDoesNotHaveIsOneClearLine) {
  link({});
  if (IsSkipped()) return;
  *(std::ranges::find(ends(), "--host") + 1) = "192.0.2.9";
  Subprocess run(demo({"--requests", "1"}));
  EXPECT_EQ(run.wait(kRunLimit), 1);
  EXPECT_THAT(run.err(), HasSubstr("cannot listen on 192.0.2.9:0"));
}

}  // namespace
}  // namespace kvferry
