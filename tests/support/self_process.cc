#include "tests/support/self_process.h"

#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace kvferry {
namespace {

constexpr size_t kMaxMessageBytes = 64 * 1024;
constexpr int kOwnerFd = 3;

void send_message(int fd, const std::string& message) {
  if (::send(fd, message.data(), message.size(), MSG_NOSIGNAL) < 0) std::perror("send");
}

std::string receive_message(int fd) {
  std::string message(kMaxMessageBytes, '\0');
  const ssize_t length = ::recv(fd, message.data(), message.size(), 0);
  message.resize(length > 0 ? static_cast<size_t>(length) : 0);
  return message;
}

}  // namespace

SelfProcess::SelfProcess(const std::string& role, const std::vector<std::string>& words) {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) != 0) std::abort();
  socket_ = UniqueFd(fds[0]);
  const UniqueFd theirs(fds[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  // Also when it has that number already: then its close-on-exec flag goes.
  ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), kOwnerFd);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, kOwnerFd + 1);
  std::vector<std::string> all = {role, "--role=" + role};
  all.insert(all.end(), words.begin(), words.end());
  std::vector<char*> arguments;
  arguments.reserve(all.size() + 1);
  for (std::string& word : all) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  if (::posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, arguments.data(), environ) != 0) {
    std::abort();
  }
  ::posix_spawn_file_actions_destroy(&actions);
}

SelfProcess::~SelfProcess() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

void SelfProcess::send(const std::string& message) const { send_message(socket_.get(), message); }

std::string SelfProcess::receive(std::chrono::seconds limit) const {
  pollfd poll_fd{socket_.get(), POLLIN, 0};
  const auto limit_ms = std::chrono::milliseconds(limit).count();
  if (::poll(&poll_fd, 1, static_cast<int>(limit_ms)) != 1) return {};
  return receive_message(socket_.get());
}

void SelfProcess::signal(int number) const { ::kill(pid_, number); }

int SelfProcess::wait() {
  int status = 0;
  ::waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void SelfOwner::send(const std::string& message) const { send_message(fd_, message); }

std::string SelfOwner::receive() const { return receive_message(fd_); }

std::optional<SelfRole> find_self_role(const std::string& role, int argc, char** argv) {
  if (argc < 2 || argv[1] != "--role=" + role) return std::nullopt;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  return SelfRole{{argv + 2, argv + argc}, SelfOwner(kOwnerFd)};
}

}  // namespace kvferry
