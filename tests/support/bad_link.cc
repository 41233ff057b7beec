// Two network namespaces and a bad link between them, where the kernel has no netem: packets are
// lost, late and out of order, and cut off for a while.
//
//   bad_link [--loss PERCENT] [--delay MS] [--jitter MS] [--cut SECONDS --cut-after BYTES]
//            [--mtu BYTES] [--seed N]
//
// Each direction delays a packet by delay +- jitter. The cut comes once, when so many bytes have
// passed. Prints one line, the flags of `kvferry demo` that put its workers at the two ends, and
// then forwards until SIGTERM. Both namespaces end with the process. Needs root, or `unshare -Ur`;
// exit code 77 where it may not.

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <queue>
#include <random>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr int kNotPermitted = 77;  // test drivers know it as "skipped"
constexpr const char* kDevice = "kvferry0";
constexpr std::array<const char*, 2> kAddresses = {"192.0.2.1", "192.0.2.2"};
constexpr const char* kNetmask = "255.255.255.252";
constexpr size_t kMaxPacketBytes = 65536;
// As netem's: a sender that overruns the link loses packets.
constexpr size_t kMaxQueued = 1000;
constexpr unsigned kIpv4 = 4;

struct Options {
  double loss = 0;  // percent
  double delay = 0;
  double jitter = 0;
  double cut = 0;  // seconds
  double cut_after = 0;
  double mtu = 1500;
  double seed = 1;
};

[[noreturn]] void fail(const std::string& what) {
  const int error = errno;
  std::fprintf(stderr, "bad_link: cannot %s: %s%s\n", what.c_str(), std::strerror(error),
               error == EPERM || error == EACCES ? "; it needs root, or `unshare -Ur`" : "");
  std::exit(error == EPERM || error == EACCES || error == ENOENT ? kNotPermitted : 1);
}

Options parse(int argc, char** argv) {
  Options options;
  const std::array<std::pair<const char*, double*>, 7> known = {
      {{"--loss", &options.loss},
       {"--delay", &options.delay},
       {"--jitter", &options.jitter},
       {"--cut", &options.cut},
       {"--cut-after", &options.cut_after},
       {"--mtu", &options.mtu},
       {"--seed", &options.seed}}};
  for (int i = 1; i < argc; i += 2) {
    bool is_known = false;
    for (const auto& [flag, value] : known) {
      if (std::strcmp(argv[i], flag) != 0 || i + 1 == argc) continue;
      char* end = nullptr;
      *value = std::strtod(argv[i + 1], &end);
      is_known = end != argv[i + 1] && *end == '\0' && *value >= 0;
    }
    if (!is_known) {
      std::fprintf(stderr, "bad_link: no such flag, or no number after it: %s\n", argv[i]);
      std::exit(2);
    }
  }
  return options;
}

/// A namespace with a device that this program reads and writes the packets of.
struct End {
  int netns = -1;
  int tun = -1;
};

/// Leaves this process in the namespace it makes.
End make_end(const char* address_text, int mtu) {
  End end;
  if (::unshare(CLONE_NEWNET) != 0) fail("make a network namespace");
  end.netns = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  if (end.netns < 0) fail("open the network namespace");
  end.tun = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (end.tun < 0) fail("open /dev/net/tun");
  ifreq request{};
  std::strncpy(request.ifr_name, kDevice, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (::ioctl(end.tun, TUNSETIFF, &request) != 0) fail("make a TUN device");
  const int control = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const auto configure = [&](unsigned long what, const char* name) {
    if (::ioctl(control, what, &request) != 0) fail(name);
  };
  const auto put_address = [&](const char* text) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    ::inet_pton(AF_INET, text, &address.sin_addr);
    std::memcpy(&request.ifr_addr, &address, sizeof(address));
  };
  put_address(address_text);
  configure(SIOCSIFADDR, "give the device its address");
  put_address(kNetmask);
  configure(SIOCSIFNETMASK, "give the device its netmask");
  request.ifr_mtu = mtu;
  configure(SIOCSIFMTU, "set the MTU");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  configure(SIOCSIFFLAGS, "bring the device up");
  ::close(control);
  return end;
}

class Forwarder {
 public:
  Forwarder(const Options& options, std::array<End, 2> ends)
      : options_(options), ends_(ends), random_(static_cast<uint64_t>(options.seed)) {}

  void run(int signals) {
    for (;;) {
      std::array<pollfd, 3> fds = {pollfd{ends_[0].tun, POLLIN, 0}, pollfd{ends_[1].tun, POLLIN, 0},
                                   pollfd{signals, POLLIN, 0}};
      const timespec wait = until_due();
      ::ppoll(fds.data(), fds.size(), late_.empty() ? nullptr : &wait, nullptr);
      if ((fds[2].revents & POLLIN) != 0) return;
      for (size_t from = 0; from < ends_.size(); ++from) {
        if ((fds[from].revents & POLLIN) != 0) take_packets(from);
      }
      deliver_due();
    }
  }

  void report() const {
    std::fprintf(stderr, "bad_link: %ld packets delivered, %ld lost, %ld cut off, %ld overran\n",
                 delivered_, lost_, cut_off_, overran_);
  }

 private:
  struct Packet {
    Clock::time_point due;
    uint64_t number = 0;  // of equally late ones the first goes first
    size_t to = 0;
    std::vector<char> bytes;
    bool operator<(const Packet& other) const {
      return due != other.due ? due > other.due : number > other.number;
    }
  };

  timespec until_due() const {
    if (late_.empty()) return {};
    const auto left = std::max(late_.top().due - Clock::now(), Clock::duration::zero());
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
    return {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  }

  void take_packets(size_t from) {
    std::array<char, kMaxPacketBytes> buffer;
    for (;;) {
      const ssize_t n = ::read(ends_[from].tun, buffer.data(), buffer.size());
      if (n <= 0) return;
      // Neighbour discovery of IPv6 leads nowhere.
      if (static_cast<unsigned char>(buffer[0]) >> 4U == kIpv4) {
        take_packet({buffer.data(), buffer.data() + n}, 1 - from);
      }
    }
  }

  void take_packet(std::vector<char> bytes, size_t to) {
    const Clock::time_point now = Clock::now();
    const double fate = std::uniform_real_distribution<>(0, 100)(random_);
    const double jitter =
        std::uniform_real_distribution<>(-options_.jitter, options_.jitter)(random_);
    if (options_.cut > 0 && !cut_until_ && bytes_passed_ >= options_.cut_after) {
      cut_until_ = now + std::chrono::duration_cast<Clock::duration>(
                             std::chrono::duration<double>(options_.cut));
    }
    if (cut_until_ && now < *cut_until_) {
      ++cut_off_;
    } else if (fate < options_.loss) {
      ++lost_;
    } else if (late_.size() >= kMaxQueued) {
      ++overran_;
    } else {
      bytes_passed_ += static_cast<double>(bytes.size());
      const Milliseconds delay(std::max(0.0, options_.delay + jitter));
      late_.push({now + std::chrono::duration_cast<Clock::duration>(delay), next_++, to,
                  std::move(bytes)});
    }
  }

  void deliver_due() {
    while (!late_.empty() && late_.top().due <= Clock::now()) {
      const Packet& packet = late_.top();
      // What the kernel does not take is lost, like any packet.
      if (::write(ends_.at(packet.to).tun, packet.bytes.data(), packet.bytes.size()) > 0) {
        ++delivered_;
      }
      late_.pop();
    }
  }

  const Options options_;
  const std::array<End, 2> ends_;
  std::mt19937_64 random_;
  std::priority_queue<Packet> late_;
  uint64_t next_ = 0;
  double bytes_passed_ = 0;
  std::optional<Clock::time_point> cut_until_;
  long delivered_ = 0;
  long lost_ = 0;
  long cut_off_ = 0;
  long overran_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t wanted;
  ::sigemptyset(&wanted);
  for (const int signal : {SIGTERM, SIGINT}) ::sigaddset(&wanted, signal);
  ::sigprocmask(SIG_BLOCK, &wanted, nullptr);
  const int signals = ::signalfd(-1, &wanted, SFD_CLOEXEC);
  if (signals < 0) fail("take signals");
  const auto mtu = static_cast<int>(options.mtu);
  const std::array<End, 2> ends = {make_end(kAddresses[0], mtu), make_end(kAddresses[1], mtu)};
  const std::string fds = "/proc/" + std::to_string(::getpid()) + "/fd/";
  std::printf("--prefill-netns %s%d --decode-netns %s%d --host %s\n", fds.c_str(), ends[0].netns,
              fds.c_str(), ends[1].netns, kAddresses[0]);
  std::fflush(stdout);
  Forwarder forwarder(options, ends);
  forwarder.run(signals);
  forwarder.report();
  return 0;
}
