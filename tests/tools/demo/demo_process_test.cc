// Runs the built command as a user does.

#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <thread>
#include <tuple>

#include "workload/processes/subprocess.h"

namespace kvferry {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr auto kRunLimit = std::chrono::seconds(100);

std::vector<std::string> kvferry(std::vector<std::string> words) {
  words.insert(words.begin(), KVFERRY_TOOL);
  return words;
}

std::vector<std::string> demo(const std::vector<std::string>& more) {
  std::vector<std::string> words = kvferry({"demo", "--skip-ceilings"});
  const bool has_memory = std::find(more.begin(), more.end(), "--memory") != more.end();
  if (!has_memory) words.insert(words.end(), {"--memory", "420MiB"});
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

std::string json_path(const std::string& name) {
  return ::testing::TempDir() + "kvferry_" + name + "_" + std::to_string(::getpid()) + ".json";
}

nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file, nullptr, false);
}

int64_t count(const nlohmann::json& report, const char* name) {
  return report.at(name).get<int64_t>();
}

void expect_verified(const nlohmann::json& report) {
  EXPECT_EQ(count(report, "chunks"),
            count(report, "chunks_moved") + count(report, "chunks_reused"));
  EXPECT_EQ(count(report, "chunks"), count(report, "chunks_verified"));
  EXPECT_EQ(count(report, "leases_leaked"), 0);
  EXPECT_EQ(count(report, "quarantined_bytes"), 0);
  EXPECT_TRUE(report.at("verified").get<bool>());
}

TEST(DemoProcess, MovesAndVerifiesTheBuiltInWorkload) {
  const std::string path = json_path("builtin");
  Subprocess run(demo({"--requests", "12", "--json", path}));
  ASSERT_EQ(run.wait(kRunLimit), 0) << run.err();
  EXPECT_THAT(run.out(), HasSubstr("prefill pid"));
  EXPECT_THAT(run.out(), HasSubstr("end to end"));
  const nlohmann::json report = read_json(path);
  expect_verified(report);
  EXPECT_EQ(count(report, "requests"), 12);
  EXPECT_GT(count(report, "chunks_reused"), 0);
  EXPECT_EQ(count(report, "chunks_mismatched"), 0);
}

// The last acknowledgement and the question for leases race; what is on its way is no leak.
TEST(DemoProcess, ARunOfOneChunkLeaksNothingHoweverOftenItIsAsked) {
  for (int i = 0; i < 10; ++i) {
    Subprocess run(demo({"--requests", "1", "--max-tokens", "100", "--memory", "300MiB"}));
    ASSERT_EQ(run.wait(kRunLimit), 0) << run.err() << run.out();
  }
}

TEST(DemoProcess, ReplaysTheSampleTraceAndMovesEvictedChunksAgain) {
  const std::string path = json_path("sample");
  Subprocess run(demo({"--trace", KVFERRY_SAMPLE_TRACE, "--memory", "320MiB", "--json", path}));
  ASSERT_EQ(run.wait(kRunLimit), 0) << run.err();
  const nlohmann::json report = read_json(path);
  expect_verified(report);
  EXPECT_GT(count(report, "chunks_evicted"), 0);
  EXPECT_GT(count(report, "chunks_moved_again"), 0);
}

TEST(DemoProcess, KeepsEachWorkerWithinItsBound) {
  const std::string path = json_path("bound");
  Subprocess run(demo({"--requests", "8", "--json", path}));
  ASSERT_EQ(run.wait(kRunLimit), 0) << run.err();
  const nlohmann::json report = read_json(path);
  const int64_t bound = count(report, "memory_bound_bytes");
  if (KVFERRY_SANITIZED == 0) {  // sanitizers have memory of their own
    EXPECT_LE(report.at("rss_peak_bytes").at("prefill").get<int64_t>(), bound);
    EXPECT_LE(report.at("rss_peak_bytes").at("decode").get<int64_t>(), bound);
  }
}

TEST(DemoProcess, EveryModelAndEveryPathVerifies) {
  for (const char* model : {"qwen2.5-0.5b", "deepseek-v2-lite", "llama-3.1-8b"}) {
    for (const char* way : {"pull", "shm", "tcp"}) {
      const std::string path = json_path("model");
      Subprocess run(demo({"--model", model, "--path", way, "--memory", "1300MiB", "--requests",
                           "2", "--max-tokens", "700", "--json", path}));
      ASSERT_EQ(run.wait(kRunLimit), 0) << model << " over " << way << ": " << run.err();
      expect_verified(read_json(path));
    }
  }
}

TEST(DemoProcess, FindsEveryChunkThatItCorruptedAndFetchesItAgain) {
  const std::string path = json_path("corrupt");
  Subprocess run(demo({"--requests", "12", "--corrupt-one-in", "3", "--json", path}));
  ASSERT_EQ(run.wait(kRunLimit), 0) << run.err();
  const nlohmann::json report = read_json(path);
  expect_verified(report);
  EXPECT_GT(count(report, "chunks_corrupted"), 5);
  EXPECT_EQ(count(report, "chunks_mismatched"), count(report, "chunks_corrupted"));
  EXPECT_EQ(count(report, "chunks_refetched"), count(report, "chunks_corrupted"));
}

/// When one stage of one transfer ran on one side, in microseconds; -1: not in the trace.
struct Span {
  double begin = -1;
  double end = -1;
};
/// By transfer, side, stage and fragment (-1: the chunk).
using Spans = std::map<std::tuple<std::string, std::string, std::string, int>, Span>;

Spans spans_of(const nlohmann::json& trace) {
  Spans spans;
  std::map<std::string, Span*> open;  // begun and not ended, by name, category, id and process
  for (const nlohmann::json& event : trace.at("traceEvents")) {
    const std::string phase = event.at("ph").get<std::string>();
    if (phase == "M") continue;
    const double at = event.at("ts").get<double>();
    std::string key;
    if (phase != "X")
      key = event.at("name").dump() + event.at("cat").dump() + event.at("id").dump();
    if (phase == "e") {
      Span* const begun = std::exchange(open[key], nullptr);
      if (begun == nullptr) {
        ADD_FAILURE() << "ended and not begun: " << event;
      } else {
        begun->end = at;
      }
      continue;
    }
    const nlohmann::json& args = event.at("args");
    Span& span = spans[{args.at("transfer").get<std::string>(), args.at("side").get<std::string>(),
                        event.at("name").get<std::string>(), args.value("fragment", -1)}];
    EXPECT_EQ(span.begin, -1) << "twice: " << event;
    span.begin = at;
    if (phase == "X") {
      span.end = at + event.at("dur").get<double>();
    } else {
      EXPECT_EQ(open[key], nullptr) << "begun twice: " << event;
      open[key] = &span;
    }
  }
  return spans;
}

// Times are rounded to nanoseconds on their way through JSON.
constexpr double kRounding = 0.01;

class StagesOfOneTransfer {
 public:
  StagesOfOneTransfer(const Spans& spans, std::string transfer)
      : spans_(spans), transfer_(std::move(transfer)) {}

  Span at(const std::string& side, const std::string& stage, int fragment = -1) const {
    const auto found = spans_.find({transfer_, side, stage, fragment});
    EXPECT_NE(found, spans_.end())
        << side << " " << stage << " " << fragment << " of " << transfer_;
    return found == spans_.end() ? Span{} : found->second;
  }
  int num_fragments() const {
    int count = 0;
    while (spans_.contains({transfer_, "source", "gather", count})) ++count;
    return count;
  }
  static void expect_in_order(const Span& first, const Span& second, const char* what) {
    EXPECT_LE(first.begin, first.end + kRounding) << what;
    EXPECT_LE(first.end, second.begin + kRounding) << what;
  }
  void expect_whole() const {
    const Span offer = at("source", "offer");
    const Span acknowledged = at("source", "acknowledge");
    expect_in_order(at("source", "lookup"), at("source", "plan"), "lookup, plan");
    expect_in_order(at("source", "plan"), offer, "plan, offer");
    const Span grant = at("destination", "grant");
    EXPECT_LE(offer.begin, grant.begin + kRounding);
    EXPECT_LE(grant.end, offer.end + kRounding) << "the grant travels back";
    expect_in_order(grant, at("destination", "plan"), "grant, plan");
    ASSERT_GT(num_fragments(), 0);
    for (int i = 0; i < num_fragments(); ++i) {
      const Span gather = at("source", "gather", i);
      const Span wire = at("destination", "wire", i);
      const Span verify = at("destination", "verify", i);
      expect_in_order(offer, gather, "offer, gather");
      expect_in_order(gather, wire, "gather, wire");
      expect_in_order(gather, at("source", "send", i), "gather, send");
      expect_in_order(wire, at("destination", "scatter", i), "wire, scatter");
      expect_in_order(at("destination", "scatter", i), verify, "scatter, verify");
      EXPECT_LE(verify.end, acknowledged.end + kRounding) << "verified before it is acknowledged";
    }
    EXPECT_LE(at("destination", "acknowledge").begin, acknowledged.end + kRounding);
  }

 private:
  const Spans& spans_;
  const std::string transfer_;
};

/// A thread does one thing at a time.
void expect_no_overlap_on_threads(const nlohmann::json& trace) {
  std::map<std::pair<int, int>, std::vector<Span>> by_thread;
  for (const nlohmann::json& event : trace.at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    const double begin = event.at("ts").get<double>();
    by_thread[{event.at("pid").get<int>(), event.at("tid").get<int>()}].push_back(
        {begin, begin + event.at("dur").get<double>()});
  }
  EXPECT_EQ(by_thread.size(), 4U) << "control and data thread of two processes";
  for (auto& [thread, spans] : by_thread) {
    std::ranges::sort(spans, {}, &Span::begin);
    for (size_t i = 1; i < spans.size(); ++i) {
      EXPECT_LE(spans[i - 1].end, spans[i].begin + kRounding);
    }
  }
}

TEST(DemoProcess, ItsTraceHasEveryStageOfEveryTransferInOrder) {
  const std::string path = json_path("trace");
  const std::string report_path = json_path("traced");
  Subprocess run(
      demo({"--requests", "12", "--trace-out", path, "--json", report_path, "--memory", "520MiB"}));
  ASSERT_EQ(run.wait(kRunLimit), 0) << run.err();
  const nlohmann::json trace = read_json(path);
  ASSERT_FALSE(trace.is_discarded());
  const Spans spans = spans_of(trace);
  std::set<std::string> transfers;
  for (const auto& [key, span] : spans) transfers.insert(std::get<0>(key));
  EXPECT_EQ(static_cast<int64_t>(transfers.size()), count(read_json(report_path), "chunks_moved"));
  for (const std::string& transfer : transfers) {
    StagesOfOneTransfer(spans, transfer).expect_whole();
    if (::testing::Test::HasFailure()) break;  // one is enough to read
  }
  expect_no_overlap_on_threads(trace);
}

TEST(DemoProcess, CutsWhatCannotFitAndCountsIt) {
  const std::string path = json_path("cut");
  Subprocess run(demo({"--requests", "6", "--max-tokens", "300", "--json", path}));
  ASSERT_EQ(run.wait(kRunLimit), 0) << run.err();
  const nlohmann::json report = read_json(path);
  expect_verified(report);
  EXPECT_EQ(count(report, "requests_cut"), 6);
  EXPECT_EQ(count(report, "tokens"), 6 * 300);
}

TEST(DemoProcess, BadInputIsOneLineAndExitCode2) {
  struct Case {
    std::vector<std::string> words;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {{"--trace", "/dev/null"}, "/dev/null"},
      {{"--trace", "/no/such/file"}, "/no/such/file"},
      {{"--trace", ""}, "--trace"},
      {{"--model", "gpt-9"}, "gpt-9"},
      {{"--no-such-flag"}, "see kvferry demo --help"},
      {{"--memory", "1MiB"}, "--memory: 1MiB"},
      {{"--memory", "900000GiB"}, "available"},
      {{"--requests", "x"}, "--requests"},
      {{"--requests", "0"}, "1 to 1000000"},
      {{"--requests", ""}, "--requests"},
      {{"--seed", "-1"}, "--seed"},
      {{"--json", ""}, "--json"},
      {{"--trace-out", "/no/such/folder/t.json"}, "--trace-out: cannot write"},
      {{"--json", "/no/such/folder/a.json"}, "--json: cannot write /no/such/folder/a.json: No"},
  };
  for (const Case& each : cases) {
    Subprocess run(demo(each.words));
    EXPECT_EQ(run.wait(kRunLimit), 2) << each.words[0];
    EXPECT_EQ(run.out(), "") << "nothing is started";
    EXPECT_EQ(std::count(run.err().begin(), run.err().end(), '\n'), 1) << run.err();
    EXPECT_THAT(run.err(), HasSubstr(each.expected));
  }
}

/// Runs the command under a shell that sets its streams up.
std::vector<std::string> with_streams(const std::vector<std::string>& command,
                                      const std::string& redirection) {
  std::vector<std::string> words = {"/bin/sh", "-c", "\"$@\" " + redirection, "sh"};
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

TEST(DemoProcess, ATableThatCannotBeWrittenIsAnErrorAndTheJsonIsStillThere) {
  const std::string path = json_path("full");
  Subprocess run(with_streams(demo({"--requests", "1", "--json", path}), ">/dev/full"));
  EXPECT_EQ(run.wait(kRunLimit), 1);
  EXPECT_THAT(run.err(), HasSubstr("kvferry demo: cannot write to the standard output"));
  expect_verified(read_json(path));
  Subprocess doctor(with_streams(kvferry({"doctor"}), ">/dev/full"));
  EXPECT_EQ(doctor.wait(kRunLimit), 1);
  EXPECT_THAT(doctor.err(), HasSubstr("kvferry doctor: cannot write"));
}

TEST(DemoProcess, RunsWithItsStandardStreamsClosed) {
  const std::string path = json_path("closed");
  Subprocess run(with_streams(demo({"--requests", "1", "--json", path}), "<&- >&- 2>&-"));
  EXPECT_EQ(run.wait(kRunLimit), 0);
  expect_verified(read_json(path));
}

bool is_alive(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string word;
  stat >> word >> word >> word;
  return stat && word != "Z";
}

bool all_gone_within(const std::vector<pid_t>& pids, std::chrono::seconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (std::any_of(pids.begin(), pids.end(), is_alive)) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

struct Pids {
  pid_t supervisor = 0;
  pid_t prefill = 0;
  pid_t decode = 0;
};

/// Waits until requests have been served; the replay goes on for minutes. Then says who is who.
void expect_mid_run(Subprocess& run, Pids& pids) {
  ASSERT_TRUE(run.read_until(
      [](const Subprocess& so_far) {
        return so_far.err().find("request 1 of") != std::string::npos;
      },
      kRunLimit))
      << run.err();
  std::smatch found;
  const std::regex first_line("supervisor pid (\\d+), prefill pid (\\d+), decode pid (\\d+)");
  ASSERT_TRUE(std::regex_search(run.out(), found, first_line)) << run.out();
  pids = {std::stoi(found[1]), std::stoi(found[2]), std::stoi(found[3])};
}

class DemoKilled : public ::testing::TestWithParam<const char*> {};

TEST_P(DemoKilled, TheRestEndsWithOneClearLineAndNoProcessIsLeft) {
  const std::string role = GetParam();
  Subprocess run(demo({"--requests", "100000"}));
  Pids pids;
  ASSERT_NO_FATAL_FAILURE(expect_mid_run(run, pids));
  const auto [supervisor, prefill, decode] = pids;
  const pid_t victim = role == "supervisor" ? supervisor : role == "prefill" ? prefill : decode;
  ASSERT_EQ(::kill(victim, SIGKILL), 0);
  const int code = run.wait(std::chrono::seconds(5));
  EXPECT_NE(code, 0);
  EXPECT_NE(code, -1) << "still running after 5 s";
  EXPECT_TRUE(all_gone_within({prefill, decode}, std::chrono::seconds(5)));
  std::istringstream lines(run.err());
  int clear_lines = 0;
  for (std::string line; std::getline(lines, line);) {
    clear_lines += line.find("kvferry demo:") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(clear_lines, 1) << run.err();
  EXPECT_THAT(run.err(), HasSubstr(role));
}

INSTANTIATE_TEST_SUITE_P(EachProcess, DemoKilled,
                         ::testing::Values("prefill", "decode", "supervisor"),
                         [](const auto& role) { return std::string(role.param); });

class DemoInterrupted : public ::testing::TestWithParam<int> {};

TEST_P(DemoInterrupted, EndsItsWorkersSaysWhyAndLeavesNothing) {
  const int signal = GetParam();
  ::signal(signal, SIG_DFL);  // a test run in the background would hand on that it is ignored
  const std::string path = json_path("interrupted");
  Subprocess run(demo({"--requests", "100000", "--json", path}));
  Pids pids;
  ASSERT_NO_FATAL_FAILURE(expect_mid_run(run, pids));
  // A terminal tells all of a job.
  if (signal != SIGTERM) {
    ::kill(pids.prefill, signal);
    ::kill(pids.decode, signal);
  }
  ASSERT_EQ(::kill(pids.supervisor, signal), 0);
  EXPECT_EQ(run.wait(std::chrono::seconds(5)), 128 + signal) << run.err();
  EXPECT_TRUE(all_gone_within({pids.prefill, pids.decode}, std::chrono::seconds(1)));
  const std::string line = std::string("kvferry demo: interrupted by SIG") + ::sigabbrev_np(signal);
  EXPECT_THAT(run.err(), ::testing::EndsWith(line + "\n"));
  EXPECT_EQ(run.err().find("kvferry demo:"), run.err().rfind("kvferry demo:")) << run.err();
  EXPECT_FALSE(std::ifstream(path).is_open()) << "no report, no file";
}

INSTANTIATE_TEST_SUITE_P(EachSignal, DemoInterrupted, ::testing::Values(SIGINT, SIGTERM, SIGHUP),
                         [](const auto& signal) {
                           return std::string(::sigabbrev_np(signal.param));
                         });

TEST(DemoProcess, SaysThatAWorkerIsStoppedAndThatItGoesOn) {
  for (const bool stops_decode : {true, false}) {
    Subprocess run(demo({"--requests", "100000"}));
    Pids pids;
    ASSERT_NO_FATAL_FAILURE(expect_mid_run(run, pids));
    const pid_t stopped = stops_decode ? pids.decode : pids.prefill;
    ASSERT_EQ(::kill(stopped, SIGSTOP), 0);
    const std::string advice = "is stopped: kill -CONT " + std::to_string(stopped);
    const auto says = [&run](const std::string& text) {
      return run.read_until(
          [&text](const Subprocess& so_far) {
            return so_far.err().find(text) != std::string::npos;
          },
          kRunLimit);
    };
    ASSERT_TRUE(says(advice)) << run.err();
    EXPECT_THAT(run.err(), HasSubstr("no answer from "));
    ASSERT_EQ(::kill(stopped, SIGCONT), 0);
    EXPECT_TRUE(says(" goes on\n")) << run.err();
    const auto goes_on_at = run.err().find(" goes on\n");
    EXPECT_TRUE(run.read_until(
        [goes_on_at](const Subprocess& so_far) {
          return so_far.err().find("  request ", goes_on_at) != std::string::npos;
        },
        kRunLimit))
        << run.err();
  }
}

// Engines lose a peer that is silent for 5 s; a worker is stopped for longer than that.
TEST(DemoProcess, ConnectsAgainAndVerifiesWhenAWorkerWasStoppedAndGoesOn) {
  for (const bool stops_decode : {true, false}) {
    const std::string path = json_path("reconnects");
    Subprocess run(demo({"--requests", "40", "--json", path}));
    Pids pids;
    ASSERT_NO_FATAL_FAILURE(expect_mid_run(run, pids));
    const pid_t stopped = stops_decode ? pids.decode : pids.prefill;
    ASSERT_EQ(::kill(stopped, SIGSTOP), 0);
    // The supervisor speaks after 5 s and gives up 15 s later: time enough to be lost, and back.
    EXPECT_FALSE(run.read_until([](const Subprocess&) { return false; }, std::chrono::seconds(8)));
    ASSERT_EQ(::kill(stopped, SIGCONT), 0);
    ASSERT_EQ(run.wait(kRunLimit), 0) << run.err();
    const nlohmann::json report = read_json(path);
    expect_verified(report);
    EXPECT_GE(count(report, "reconnects"), 1);
    EXPECT_THAT(run.out(), HasSubstr("the connection was lost and made again"));
  }
}

TEST(DemoProcess, EndsARunOneOfWhoseWorkersStaysStopped) {
  // Side by side, as both take the same 20 s.
  Subprocess run_without_prefill(demo({"--requests", "100000"}));
  Subprocess run_without_decode(demo({"--requests", "100000"}));
  Pids pids_without_prefill;
  Pids pids_without_decode;
  ASSERT_NO_FATAL_FAILURE(expect_mid_run(run_without_prefill, pids_without_prefill));
  ASSERT_NO_FATAL_FAILURE(expect_mid_run(run_without_decode, pids_without_decode));
  ASSERT_EQ(::kill(pids_without_prefill.prefill, SIGSTOP), 0);
  ASSERT_EQ(::kill(pids_without_decode.decode, SIGSTOP), 0);
  const auto expect_ended = [](Subprocess& run, const Pids& pids, const std::string& stopped) {
    EXPECT_EQ(run.wait(kRunLimit), 1) << run.err();
    EXPECT_TRUE(all_gone_within({pids.prefill, pids.decode}, std::chrono::seconds(1)));
    EXPECT_THAT(run.err(), HasSubstr("is stopped: kill -CONT"));
    EXPECT_THAT(run.err(), HasSubstr("the run ended early: the " + stopped + ") was stopped for "));
    EXPECT_THAT(run.err(), ::testing::EndsWith(" s; both workers were killed\n"));
  };
  expect_ended(run_without_prefill, pids_without_prefill,
               "prefill worker (pid " + std::to_string(pids_without_prefill.prefill));
  expect_ended(run_without_decode, pids_without_decode,
               "decode worker (pid " + std::to_string(pids_without_decode.decode));
}

TEST(DemoProcess, AStoppedWorkerIsEndedByAnInterruptToo) {
  Subprocess run(demo({"--requests", "100000"}));
  Pids pids;
  ASSERT_NO_FATAL_FAILURE(expect_mid_run(run, pids));
  ASSERT_EQ(::kill(pids.decode, SIGSTOP), 0);
  ASSERT_EQ(::kill(pids.supervisor, SIGTERM), 0);
  EXPECT_EQ(run.wait(std::chrono::seconds(5)), 128 + SIGTERM) << run.err();
  EXPECT_TRUE(all_gone_within({pids.prefill, pids.decode}, std::chrono::seconds(1)));
}

TEST(Command, SaysItsVersionAndHelps) {
  Subprocess version(kvferry({"--version"}));
  EXPECT_EQ(version.wait(kRunLimit), 0);
  EXPECT_THAT(version.out(), HasSubstr("kvferry 0."));
  Subprocess help(kvferry({"demo", "--help"}));
  EXPECT_EQ(help.wait(kRunLimit), 0);
  EXPECT_THAT(help.out(), HasSubstr("--trace"));
}

TEST(Command, NamesTheSubcommandsWhenTheOneAskedForIsNone) {
  Subprocess run(kvferry({"dem", "--requests", "5"}));
  EXPECT_EQ(run.wait(kRunLimit), 2);
  EXPECT_THAT(run.err(), HasSubstr("'dem'"));
  EXPECT_THAT(run.err(), HasSubstr("config, demo, doctor, sim, plugin and replay"));
}

TEST(DoctorProcess, SaysWhatTheMachineHasAndWritesIt) {
  const std::string path = json_path("doctor");
  Subprocess run(kvferry({"doctor", "--json", path}));
  EXPECT_EQ(run.wait(kRunLimit), 0) << run.out();
  EXPECT_THAT(run.out(), HasSubstr("process reads"));
  const nlohmann::json report = read_json(path);
  EXPECT_TRUE(report.at("works").get<bool>());
  EXPECT_GE(report.at("findings").size(), 10U);
}

TEST(DoctorProcess, AFileThatCannotBeWrittenIsExitCode2) {
  Subprocess run(kvferry({"doctor", "--json", "/no/such/folder/out.json"}));
  EXPECT_EQ(run.wait(kRunLimit), 2);
  EXPECT_THAT(run.err(), HasSubstr("--json: cannot write /no/such/folder/out.json"));
  EXPECT_EQ(run.out(), "");
}

}  // namespace
}  // namespace kvferry
