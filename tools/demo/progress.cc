#include "tools/demo/progress.h"

#include <unistd.h>

#include <cstdio>

namespace kvferry {
namespace {

constexpr Duration kShowEvery = std::chrono::seconds(5);
constexpr const char* kEraseLine = "\r\033[K";

}  // namespace

Progress::Progress(size_t total) : total_(total), is_terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (is_line_open_) std::fputs(done_ == total_ ? kEraseLine : "\n", stderr);
}

void Progress::show(const DemoReport& report) {
  const size_t tenths_before = done_ * 10 / total_;
  done_ = static_cast<size_t>(report.requests);
  const TimePoint now = clock_.now();
  const bool is_due = is_terminal_ || done_ == 1 || now - shown_at_ >= kShowEvery ||
                      done_ * 10 / total_ != tenths_before;
  if (!is_due) return;
  shown_at_ = now;
  std::fprintf(
      stderr, "%s  request %zu of %zu: %lld chunks moved, %lld reused, %lld verified, %.2f GB/s%s",
      is_terminal_ ? kEraseLine : "", done_, total_, static_cast<long long>(report.chunks_moved),
      static_cast<long long>(report.chunks_reused), static_cast<long long>(report.chunks_verified),
      report.transfer_seconds > 0
          ? static_cast<double>(report.bytes_moved) / 1e9 / report.transfer_seconds
          : 0.0,
      is_terminal_ ? "" : "\n");
  std::fflush(stderr);
  is_line_open_ = is_terminal_;
}

void Progress::say(const std::string& line) {
  std::fprintf(stderr, "%skvferry demo: %s\n", is_line_open_ ? kEraseLine : "", line.c_str());
  is_line_open_ = false;
}

}  // namespace kvferry
