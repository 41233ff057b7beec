#include "tools/plugin/check_log.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace kvferry {
namespace {

constexpr std::string_view kViolation = "external_violation ";
constexpr size_t kMaxViolations = 16;

const char* level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kError:
      return "error";
  }
  return "?";
}

/// The text between what=" and the last quote.
std::string what_of(std::string_view line) {
  constexpr std::string_view kKey = "what=\"";
  const size_t begin = line.find(kKey);
  const size_t end = line.rfind('"');
  if (begin == std::string_view::npos || end <= begin + kKey.size()) return std::string(line);
  return std::string(line.substr(begin + kKey.size(), end - begin - kKey.size()));
}

}  // namespace

CheckLog::CheckLog(std::FILE* file, std::string case_name)
    : file_(file), case_name_(std::move(case_name)) {}

CheckLog::~CheckLog() {
  if (file_ != nullptr) std::fclose(file_);
}

Result<std::unique_ptr<CheckLog>> CheckLog::open(const std::optional<std::string>& path,
                                                 const std::string& case_name) {
  std::FILE* file = nullptr;
  if (path.has_value()) {
    file = std::fopen(path->c_str(), "ae");
    if (file == nullptr) {
      return make_error(Status::native(StatusCode::kUnavailable, ErrorDomain::kErrno, errno,
                                       "--log " + *path + ": " + std::strerror(errno)));
    }
  }
  return std::unique_ptr<CheckLog>(new CheckLog(file, case_name));
}

void CheckLog::log(LogLevel level, std::string_view line) {
  MutexLock lock(mutex_);
  if (file_ != nullptr) {
    std::fprintf(file_, "%s %s: %.*s\n", case_name_.c_str(), level_name(level),
                 static_cast<int>(line.size()), line.data());
    std::fflush(file_);  // the next thing may be a crash
  }
  if (line.starts_with(kViolation) && violations_.size() < kMaxViolations) {
    violations_.push_back(what_of(line));
  }
}

std::vector<std::string> CheckLog::violations() const {
  MutexLock lock(mutex_);
  return violations_;
}

}  // namespace kvferry
