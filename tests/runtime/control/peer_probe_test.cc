#include "runtime/control/peer_probe.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <set>

#include "runtime/control/tcp_channel.h"
#include "tests/support/eventually.h"

namespace kvferry {
namespace {

/// A process that does nothing until it is ended.
class IdleProcess {
 public:
  IdleProcess() : pid_(::fork()) {
    if (pid_ == 0) {
      for (;;) ::pause();
    }
  }
  ~IdleProcess() { end(); }
  IdleProcess(const IdleProcess&) = delete;
  IdleProcess& operator=(const IdleProcess&) = delete;

  int32_t pid() const { return pid_; }
  void kill() const { ::kill(pid_, SIGKILL); }
  void end() {
    if (pid_ <= 0) return;
    kill();
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_;
};

TEST(PeerProbe, TheHostIdIsSetAndStable) {
  EXPECT_FALSE(host_id().empty());
  EXPECT_EQ(host_id(), host_id());
}

TEST(PeerProbe, RandomWordsDiffer) {
  std::set<uint64_t> words;
  for (int i = 0; i < 1000; ++i) words.insert(random_u64());
  EXPECT_EQ(words.size(), 1000U);
}

TEST(PeerProbe, AWordIsReadOnlyWhereItIsAndWithItsValue) {
  const uint64_t word = random_u64();
  const auto address = reinterpret_cast<uint64_t>(&word);
  const int32_t self = ::getpid();
  EXPECT_TRUE(can_read_process(self, address, word));
  EXPECT_FALSE(can_read_process(self, address, word + 1));
  EXPECT_FALSE(can_read_process(self, 0, word)) << "nothing is mapped there";
  EXPECT_FALSE(can_read_process(self, ~uint64_t{0}, word));
  EXPECT_FALSE(can_read_process(-1, address, word));
  EXPECT_FALSE(can_read_process(0, address, word)) << "no process has that id";
}

TEST(PeerProbe, ALivingProcessIsNotGoneAndADeadOneIs) {
  IdleProcess process;
  ASSERT_GT(process.pid(), 0);
  const UniqueFd pidfd = open_pidfd(process.pid());
  ASSERT_TRUE(pidfd.is_open());
  EXPECT_FALSE(process_is_gone(pidfd));
  process.kill();
  EXPECT_TRUE(eventually([&] { return process_is_gone(pidfd); }));
  process.end();
  EXPECT_TRUE(process_is_gone(pidfd)) << "also when its id may belong to another";
}

TEST(PeerProbe, NothingIsProvenWithoutADescriptor) {
  EXPECT_FALSE(process_is_gone(UniqueFd()));
  for (const int32_t pid : {-1, 0, INT32_MIN, INT32_MAX}) {
    const UniqueFd pidfd = open_pidfd(pid);
    EXPECT_FALSE(pidfd.is_open()) << pid;
    EXPECT_FALSE(process_is_gone(pidfd));
  }
}

}  // namespace
}  // namespace kvferry
