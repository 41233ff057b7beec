#include "tools/progress.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

namespace kvferry {
namespace {

constexpr Duration kShowEvery = std::chrono::seconds(5);
constexpr const char* kEraseLine = "\r\033[K";

}  // namespace

Progress::Progress(std::string command, size_t total)
    : command_(std::move(command)), total_(total), is_terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (is_line_open_) std::fputs(done_ == total_ ? kEraseLine : "\n", stderr);
}

void Progress::show(size_t done, const std::string& text) {
  const size_t tenths_before = done_ * 10 / total_;
  done_ = done;
  const TimePoint now = clock_.now();
  const bool is_due = is_terminal_ || done_ == 1 || now - shown_at_ >= kShowEvery ||
                      done_ * 10 / total_ != tenths_before;
  if (!is_due) return;
  shown_at_ = now;
  std::fprintf(stderr, "%s  request %zu of %zu: %s%s", is_terminal_ ? kEraseLine : "", done_,
               total_, text.c_str(), is_terminal_ ? "" : "\n");
  std::fflush(stderr);
  is_line_open_ = is_terminal_;
}

void Progress::say(const std::string& line) {
  std::fprintf(stderr, "%s%s: %s\n", is_line_open_ ? kEraseLine : "", command_.c_str(),
               line.c_str());
  is_line_open_ = false;
}

}  // namespace kvferry
