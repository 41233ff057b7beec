#include "tools/plugin/crash_note.h"

#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace kvferry {
namespace {

constexpr int kMaxFrames = 64;

// Read by a signal handler: set once before it is installed.
struct Watched {
  int fd = -1;
  uintptr_t base = 0;  ///< of the library; addr2line counts from here
  uintptr_t begin = 0;
  uintptr_t end = 0;
};
Watched watched;  // NOLINT(readability-identifier-naming)

/// Fills `watched` if the code lies in this library.
int find_library(dl_phdr_info* info, size_t, void* code) {
  const auto address = reinterpret_cast<uintptr_t>(code);
  uintptr_t begin = UINTPTR_MAX;
  uintptr_t end = 0;
  for (const auto& header : std::span(info->dlpi_phdr, info->dlpi_phnum)) {
    if (header.p_type != PT_LOAD) continue;
    begin = std::min(begin, info->dlpi_addr + header.p_vaddr);
    end = std::max(end, info->dlpi_addr + header.p_vaddr + header.p_memsz);
  }
  if (address < begin || address >= end) return 0;
  watched.base = info->dlpi_addr;
  watched.begin = begin;
  watched.end = end;
  return 1;
}

/// {"crashed_at":"0x12a4"}, without a call that a signal handler may not make.
void tell(uintptr_t offset) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr std::string_view kHead = "\n{\"crashed_at\":\"0x";
  constexpr std::string_view kTail = "\"}\n";
  std::array<char, 64> line{};
  size_t size = kHead.copy(line.data(), kHead.size());
  int shift = 60;
  while (shift > 0 && (offset >> static_cast<unsigned>(shift)) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) {
    line.at(size++) = kDigits[(offset >> static_cast<unsigned>(shift)) & 15U];
  }
  size += kTail.copy(&line.at(size), kTail.size());
  static_cast<void>(::write(watched.fd, line.data(), size) == 0);
}

void on_crash(int signal_number) {
  std::array<void*, kMaxFrames> frames{};
  const int count = ::backtrace(frames.data(), kMaxFrames);
  for (int i = 0; i < count; ++i) {
    const auto address = reinterpret_cast<uintptr_t>(frames.at(static_cast<size_t>(i)));
    if (address < watched.begin || address >= watched.end) continue;
    // Past the handler, the kernel's frame and the one that crashed they are return addresses.
    tell(address - watched.base - (i > 2 ? 1 : 0));
    break;
  }
  ::raise(signal_number);  // SA_RESETHAND: this time it ends the process
}

}  // namespace

void install_crash_note(int fd, const void* code) {
  watched.fd = fd;
  ::dl_iterate_phdr(find_library, const_cast<void*>(code));
  std::array<void*, 1> frame{};
  ::backtrace(frame.data(), 1);  // loads what it needs: no time for that later
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    struct sigaction now {};
    if (::sigaction(number, nullptr, &now) != 0 || now.sa_handler != SIG_DFL) continue;
    struct sigaction ours {};
    ours.sa_handler = on_crash;
    ours.sa_flags = static_cast<int>(SA_RESETHAND) | SA_NODEFER;
    ::sigaction(number, &ours, nullptr);
  }
}

}  // namespace kvferry
