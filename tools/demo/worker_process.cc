#include "tools/demo/worker_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "tools/demo/net_namespace.h"

extern char** environ;  // NOLINT(readability-identifier-naming)

namespace kvferry {
namespace {

// How long a worker may take to end by itself.
constexpr auto kEndTime = std::chrono::seconds(2);

bool reap_within(pid_t pid, std::chrono::milliseconds limit, int& wait_status) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const pid_t reaped = ::waitpid(pid, &wait_status, WNOHANG);
    if (reaped == pid || (reaped < 0 && errno != EINTR)) return true;
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

/// Starts this program as the worker at the other end of a channel; an errno, or 0.
int spawn_worker(int channel_fd, pid_t& pid) {
  std::array<std::string, 6> words = {"kvferry",      "worker",
                                      "--channel",    std::to_string(channel_fd),
                                      "--supervisor", std::to_string(::getpid())};
  std::array<char*, 7> argv{};
  for (size_t i = 0; i < words.size(); ++i) argv[i] = words[i].data();
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  ::sigaddset(&mask, SIGINT);
  ::sigaddset(&mask, SIGHUP);
  ::sigdelset(&mask, SIGTERM);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  ::posix_spawnattr_setsigmask(&attributes, &mask);
  const int error =
      ::posix_spawn(&pid, "/proc/self/exe", nullptr, &attributes, argv.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  return error;
}

}  // namespace

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::start(const std::string& role,
                                                            const std::string& netns) {
  KVFERRY_ASSIGN_OR_RETURN(auto ends, WorkerChannel::make_pair());
  // The child's end survives exec; nothing else of ours does.
  ::fcntl(ends.second.get(), F_SETFD, 0);
  pid_t pid = 0;
  int error = 0;
  const auto spawn = [&] { error = spawn_worker(ends.second.get(), pid); };
  if (netns.empty()) {
    spawn();
  } else {
    KVFERRY_ASSIGN_OR_RETURN(const NetNamespace inside, NetNamespace::open(netns));
    KVFERRY_RETURN_IF_ERROR(inside.run_inside(spawn));
  }
  if (error != 0) {
    return make_error(StatusCode::kResourceExhausted,
                      "the " + role + " worker cannot be started: " + std::strerror(error));
  }
  return std::unique_ptr<WorkerProcess>(new WorkerProcess(role, pid, std::move(ends.first)));
}

WorkerProcess::~WorkerProcess() {
  channel_.send({{"do", "end"}}).ignore("it may have ended already");
  channel_ = WorkerChannel(UniqueFd());  // end of file: a healthy worker ends
  if (reaped_ || reap_within(pid_, kEndTime, wait_status_)) return;
  kill();
}

bool WorkerProcess::is_stopped() const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
  std::string line;
  std::getline(file, line);
  // "7 (kvferry) T ...": the name may hold anything, parentheses too.
  const size_t state = line.rfind(')') + 2;
  return line.rfind(')') != std::string::npos && state < line.size() &&
         (line[state] == 'T' || line[state] == 't');
}

void WorkerProcess::kill() {
  if (reaped_) return;
  ::kill(pid_, SIGKILL);
  reaped_ = reap_within(pid_, kEndTime, wait_status_);
}

std::string WorkerProcess::describe_end() {
  reaped_ = reaped_ || reap_within(pid_, kEndTime, wait_status_);
  const std::string who = "the " + role_ + " worker (pid " + std::to_string(pid_) + ") ";
  if (!reaped_) return who + "closed its channel";
  if (WIFSIGNALED(wait_status_)) {
    const int signal = WTERMSIG(wait_status_);
    return who + "was killed by signal " + std::to_string(signal) + " (" + ::strsignal(signal) +
           ")";
  }
  return who + "exited with code " + std::to_string(WEXITSTATUS(wait_status_));
}

}  // namespace kvferry
