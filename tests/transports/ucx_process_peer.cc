#include "tests/transports/ucx_process_peer.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "tests/transports/ucx_process_side.h"

namespace kvferry {
namespace {

constexpr std::string_view kPeerFlag = "--ucx-peer";
constexpr size_t kFloodBytes = size_t{4} << 20U;
constexpr size_t kMaxMessageBytes = 64 * 1024;

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

PeerProcess::PeerProcess(PeerClass peer_class, PeerRole role) {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds.data()) != 0) std::abort();
  socket_ = UniqueFd(fds[0]);
  ::fcntl(fds[0], F_SETFD, FD_CLOEXEC);  // else the peer never sees its owner's end
  const UniqueFd theirs(fds[1]);
  std::array<std::string, 5> words = {
      "ucx-peer", std::string(kPeerFlag), std::to_string(static_cast<int>(peer_class)),
      std::to_string(static_cast<int>(role)), std::to_string(theirs.get())};
  std::array<char*, 6> arguments{};
  std::ranges::transform(words, arguments.begin(), [](std::string& word) { return word.data(); });
  if (::posix_spawn(&pid_, "/proc/self/exe", nullptr, nullptr, arguments.data(), environ) != 0) {
    std::abort();
  }
}

PeerProcess::~PeerProcess() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

void PeerProcess::send(const std::string& message) const { send_message(socket_.get(), message); }

std::string PeerProcess::receive() const { return receive_message(socket_.get()); }

void PeerProcess::signal(int number) const { ::kill(pid_, number); }

int PeerProcess::wait() {
  int status = 0;
  ::waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int run_as_peer(int argc, char** argv) {
  if (argc != 5 || argv[1] != kPeerFlag) return -1;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto peer_class = static_cast<PeerClass>(std::atoi(argv[2]));
  const auto role = static_cast<PeerRole>(std::atoi(argv[3]));
  const int fd = std::atoi(argv[4]);

  UcxProcessSide side(peer_class, role == PeerRole::kMirror);
  send_message(fd, side.address());
  if (!side.connect(receive_message(fd)).is_ok()) return 1;
  if (role == PeerRole::kFlood) side.offer_forever(8, kFloodBytes);
  send_message(fd, "connected");
  receive_message(fd);  // the wish to end, or nothing if the owner is gone
  side.close();
  const bool is_quiet =
      side.wait([](const auto& counts) { return counts.is_quiet; }, std::chrono::seconds(10));
  return is_quiet && side.counts().num_wrong == 0 ? 0 : 2;
}

}  // namespace kvferry
