#include "runtime/spdlog_logger.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <chrono>

namespace kvferry {
namespace {

constexpr int kMaxLinesPerSecond = 100;

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

/// Lets so many lines a second through. Approximate under contention, which is enough.
class LineBudget {
 public:
  /// Lines left out since the last one let through, or -1: leave this one out too.
  int64_t admit() {
    const int64_t second = std::chrono::duration_cast<std::chrono::seconds>(
                               std::chrono::steady_clock::now().time_since_epoch())
                               .count();
    if (second_.exchange(second) != second) lines_.store(0);
    if (lines_.fetch_add(1) < kMaxLinesPerSecond) return left_out_.exchange(0);
    left_out_.fetch_add(1);
    return -1;
  }

 private:
  std::atomic<int64_t> second_{0};
  std::atomic<int64_t> lines_{0};
  std::atomic<int64_t> left_out_{0};
};

class SpdlogLogger final : public Logger {
 public:
  SpdlogLogger(const std::string& name, LogLevel least)
      : logger_(name, std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    logger_.set_level(spdlog_level(least));
    logger_.set_pattern("%H:%M:%S.%e %n %l %v");
  }

  bool enabled(LogLevel level) const override { return logger_.should_log(spdlog_level(level)); }

  void log(LogLevel level, std::string_view line) override {
    const int64_t left_out = budgets_[static_cast<size_t>(level)].admit();
    if (left_out < 0) return;
    const spdlog::string_view_t text(line.data(), line.size());
    logger_.log(spdlog_level(level), text);
    if (left_out > 0) logger_.log(spdlog_level(level), "lines_left_out count={}", left_out);
  }

 private:
  spdlog::logger logger_;
  std::array<LineBudget, 4> budgets_;
};

class FileLogger final : public Logger {
 public:
  /// Throws spdlog_ex if the file cannot be opened.
  FileLogger(const std::string& name, const std::string& path, LogLevel least)
      : file_(name, std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, true)),
        stderr_(name, LogLevel::kWarn) {
    file_.set_level(spdlog_level(least));
    file_.set_pattern("%H:%M:%S.%e %n %l %v");
    file_.flush_on(spdlog::level::warn);
  }

  bool enabled(LogLevel level) const override {
    return file_.should_log(spdlog_level(level)) || stderr_.enabled(level);
  }

  void log(LogLevel level, std::string_view line) override {
    file_.log(spdlog_level(level), spdlog::string_view_t(line.data(), line.size()));
    if (stderr_.enabled(level)) stderr_.log(level, line);
  }

 private:
  spdlog::logger file_;
  SpdlogLogger stderr_;
};

}  // namespace

Result<std::unique_ptr<Logger>> make_file_logger(const std::string& name, const std::string& path,
                                                 LogLevel least) {
  try {
    return std::make_unique<FileLogger>(name, path, least);
  } catch (const spdlog::spdlog_ex& error) {
    return make_error(StatusCode::kUnavailable,
                      "log file '" + path + "' cannot be written: " + error.what());
  }
}

std::unique_ptr<Logger> make_stderr_logger(const std::string& name, LogLevel least) {
  return std::make_unique<SpdlogLogger>(name, least);
}

}  // namespace kvferry
