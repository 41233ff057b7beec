#include "tools/plugin/case_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "core/unique_fd.h"

extern char** environ;  // NOLINT(readability-identifier-naming)

namespace kvferry {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kReportFd = 3;
// A process that takes longer to end by SIGABRT gets SIGKILL.
constexpr auto kAbortTime = std::chrono::seconds(2);
// What it tells is looked at so often, whether it has ended as well.
constexpr auto kPollTime = milliseconds(20);

std::vector<std::string> words_of(const PluginCheckFlags& flags, const std::string& case_name) {
  std::vector<std::string> words = {"kvferry", "plugin", "check"};
  const auto add = [&words](const char* flag, const std::optional<std::string>& value) {
    if (value.has_value()) words.insert(words.end(), {flag, *value});
  };
  add("--class", flags.class_name);
  for (const std::string& setting : flags.settings) add("--set", setting);
  add("--config", flags.config);
  add("--timeout", flags.timeout);
  add("--log", flags.log);
  add("--case", case_name);
  add("--report-fd", std::to_string(kReportFd));
  words.insert(words.end(), {"--", flags.library});
  return words;
}

/// An errno, or 0.
int spawn(std::vector<std::string> words, int report_fd, pid_t& pid) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  // Also when it has that number already: then its close-on-exec flag goes.
  ::posix_spawn_file_actions_adddup2(&actions, report_fd, kReportFd);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, kReportFd + 1);
  const int error = ::posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  return error;
}

/// A child, from its start to its end.
class CaseChild {
 public:
  CaseChild(pid_t pid, UniqueFd reports) : pid_(pid), reports_(std::move(reports)) {}

  /// Takes in what it tells until it has ended; false if `limit` has passed before.
  bool follow(milliseconds limit, CaseReport& report) {
    const auto deadline = steady_clock::now() + limit;
    while (!has_ended()) {
      if (steady_clock::now() > deadline) return false;
      read_for(kPollTime, report);
    }
    read_for(milliseconds(0), report);
    return true;
  }
  void signal(int number) const { ::kill(pid_, number); }
  /// After follow().
  int wait_status() const { return wait_status_; }

 private:
  bool has_ended() {
    const pid_t ended = ::waitpid(pid_, &wait_status_, WNOHANG);
    return ended == pid_ || (ended < 0 && errno != EINTR);
  }
  // Not until the end of file: a process that the plugin started may hold the other end for long.
  void read_for(milliseconds time, CaseReport& report) {
    if (!reports_.is_open()) {
      std::this_thread::sleep_for(time / 10);
      return;
    }
    pollfd poll_fd{reports_.get(), POLLIN, 0};
    std::array<char, 4096> buffer;
    while (::poll(&poll_fd, 1, static_cast<int>(time.count())) == 1) {
      const ssize_t n = ::read(reports_.get(), buffer.data(), buffer.size());
      if (n <= 0) return reports_.reset();
      unread_.append(buffer.data(), static_cast<size_t>(n));
      for (size_t end = unread_.find('\n'); end != std::string::npos; end = unread_.find('\n')) {
        report.take_line(std::string_view(unread_).substr(0, end));
        unread_.erase(0, end + 1);
      }
      time = milliseconds(0);
    }
  }

  const pid_t pid_;
  UniqueFd reports_;
  std::string unread_;
  int wait_status_ = 0;
};

/// How it ended that was not stopped by us.
std::string fault_of(int wait_status, const CaseReport& report) {
  if (WIFSIGNALED(wait_status)) {
    const int number = WTERMSIG(wait_status);
    return "was killed by signal " + std::to_string(number) + " (" + ::strsignal(number) + ")";
  }
  const int code = WEXITSTATUS(wait_status);
  const bool is_through = report.verdict.has_value() || !report.refusal.empty();
  if (is_through && code <= 2) return "";
  return "ended with exit code " + std::to_string(code);
}

}  // namespace

Result<CaseEnd> run_case_process(const PluginCheckFlags& flags, const std::string& case_name,
                                 std::chrono::seconds limit) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return make_error(StatusCode::kResourceExhausted, std::string("no pipe: ") + strerror(errno));
  }
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  pid_t pid = -1;
  if (const int error = spawn(words_of(flags, case_name), writing.get(), pid); error != 0) {
    return make_error(StatusCode::kResourceExhausted,
                      std::string("no process for a case: ") + ::strerror(error));
  }
  writing.reset();
  CaseChild child(pid, std::move(reading));
  CaseEnd end;
  if (child.follow(limit, end.report)) {
    end.fault = fault_of(child.wait_status(), end.report);
    return end;
  }
  // Its crash note says where it is, if it is in the library.
  child.signal(SIGABRT);
  if (!child.follow(kAbortTime, end.report)) {
    child.signal(SIGKILL);
    child.follow(std::chrono::hours(1), end.report);
  }
  end.fault = "did not end within " + std::to_string(limit.count()) + " s and was stopped";
  return end;
}

}  // namespace kvferry
