#include "runtime/telemetry/log_limit.h"

#include <utility>

namespace kvferry {

LogLimit::LogLimit(Executor& executor, std::string rest,
                   std::function<void(const std::string&)> log)
    : executor_(executor), rest_(std::move(rest)), log_(std::move(log)) {}

void LogLimit::log(const std::string& line) {
  log([&line] { return line; });
}

void LogLimit::log(const std::function<std::string()>& make_line) {
  const TimePoint now = executor_.clock().now();
  if (now >= window_end_) {
    end_window();
    window_end_ = now + kWindow;
  }
  if (num_lines_ < kLines) {
    ++num_lines_;
    log_(make_line());
    return;
  }
  if (num_left_out_++ > 0) return;
  executor_.post_at(window_end_, [weak = std::weak_ptr<LogLimit*>(self_)] {
    if (const std::shared_ptr<LogLimit*> self = weak.lock()) (*self)->end_window();
  });
}

void LogLimit::end_window() {
  num_lines_ = 0;
  const uint64_t count = std::exchange(num_left_out_, 0);
  if (count > 0) log_(rest_ + " count=" + std::to_string(count));
}

}  // namespace kvferry
