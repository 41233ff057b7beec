#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <string_view>

#include "core/printable.h"
#include "core/unique_fd.h"
#include "workload/traffic/trace.h"
#include "workload/traffic/trace_line.h"

namespace kvferry {
namespace {

constexpr size_t kReadBytes = size_t{64} << 10;
constexpr size_t kMaxEchoedPath = 1024;

Status file_error(const std::string& name, const char* verb) {
  const int error = errno;
  StatusCode code = StatusCode::kUnavailable;
  if (error == ENOENT || error == ENOTDIR) code = StatusCode::kNotFound;
  if (error == EACCES || error == EPERM) code = StatusCode::kPermissionDenied;
  return Status::native(
      code, ErrorDomain::kErrno, error,
      std::string("cannot ") + verb + " trace " + name + ": " + std::strerror(error));
}

/// The lines of a file, one at a time, each of bounded length.
class LineReader {
 public:
  static Result<LineReader> open(const std::string& path, const std::string& name,
                                 int64_t max_line_bytes) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!fd.is_open()) return make_error(file_error(name, "open"));
    struct stat info = {};
    if (::fstat(fd.get(), &info) != 0) return make_error(file_error(name, "open"));
    if (S_ISDIR(info.st_mode)) {
      return make_error(StatusCode::kInvalidArgument, "trace " + name + " is a directory");
    }
    return LineReader(std::move(fd), name, max_line_bytes);
  }

  /// The next line without its end of line in `line`; false at the end of the file.
  Result<bool> next(std::string& line) {
    line.clear();
    ++line_number_;
    while (true) {
      if (position_ == filled_) {
        KVFERRY_ASSIGN_OR_RETURN(const bool more, fill());
        if (!more) return !line.empty();
      }
      const std::string_view rest(buffer_.data() + position_, filled_ - position_);
      const size_t end = rest.find('\n');
      line.append(rest.substr(0, end));
      if (static_cast<int64_t>(line.size()) > max_line_bytes_) {
        return make_error(
            StatusCode::kResourceExhausted,
            where() + "line is longer than " + std::to_string(max_line_bytes_) + " bytes");
      }
      if (end != std::string_view::npos) {
        position_ += end + 1;
        if (line.ends_with('\r')) line.pop_back();
        return true;
      }
      position_ = filled_;
    }
  }

  std::string where(int64_t line_number) const {
    return name_ + ":" + std::to_string(line_number) + ": ";
  }
  std::string where() const { return where(line_number_); }
  int64_t line_number() const { return line_number_; }

 private:
  LineReader(UniqueFd fd, std::string name, int64_t max_line_bytes)
      : fd_(std::move(fd)), name_(std::move(name)), max_line_bytes_(max_line_bytes) {
    buffer_.resize(kReadBytes);
  }

  Result<bool> fill() {
    ssize_t count = 0;
    do {
      count = ::read(fd_.get(), buffer_.data(), buffer_.size());
    } while (count < 0 && errno == EINTR);
    if (count < 0) return make_error(file_error(name_, "read"));
    position_ = 0;
    filled_ = static_cast<size_t>(count);
    return count > 0;
  }

  UniqueFd fd_;
  std::string name_;
  int64_t max_line_bytes_;
  int64_t line_number_ = 0;
  std::vector<char> buffer_;
  size_t position_ = 0;
  size_t filled_ = 0;
};

Result<std::vector<TraceRequest>> read_requests(const std::string& path, const std::string& name,
                                                const TraceLimits& limits) {
  KVFERRY_ASSIGN_OR_RETURN(LineReader reader, LineReader::open(path, name, limits.max_line_bytes));
  std::vector<TraceRequest> requests;
  std::string line;
  int64_t blank_line = 0;
  int64_t num_ids = 0;
  while (!limits.max_requests || static_cast<int64_t>(requests.size()) < *limits.max_requests) {
    KVFERRY_ASSIGN_OR_RETURN(const bool more, reader.next(line));
    if (!more) break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      if (blank_line == 0) blank_line = reader.line_number();
      continue;
    }
    if (blank_line != 0) {
      return make_error(StatusCode::kInvalidArgument,
                        reader.where(blank_line) + "line is blank, but more follow");
    }
    TraceRequest request;
    const std::string cause = detail::parse_trace_line(line, request);
    if (!cause.empty()) {
      return make_error(StatusCode::kInvalidArgument, reader.where() + cause);
    }
    num_ids += static_cast<int64_t>(request.hash_ids.size());
    if (num_ids > limits.max_hash_ids) {
      return make_error(StatusCode::kResourceExhausted, reader.where() + "trace holds more than " +
                                                            std::to_string(limits.max_hash_ids) +
                                                            " hash_ids; read fewer requests of it");
    }
    requests.push_back(std::move(request));
  }
  if (requests.empty()) {
    return make_error(StatusCode::kInvalidArgument, name + ":1: trace holds no requests");
  }
  return requests;
}

}  // namespace

Result<std::vector<TraceRequest>> read_trace(const std::string& path, const TraceLimits& limits) {
  const std::string name = detail::printable(path, kMaxEchoedPath);
  if (limits.max_requests && *limits.max_requests < 1) {
    return make_error(StatusCode::kInvalidArgument,
                      "cannot read " + std::to_string(*limits.max_requests) +
                          " requests of trace " + name + "; ask for at least 1");
  }
  try {
    return read_requests(path, name, limits);
  } catch (const std::bad_alloc&) {
    return make_error(StatusCode::kResourceExhausted, "trace " + name + " does not fit in memory");
  } catch (const std::exception& error) {
    return make_error(StatusCode::kInternal, "cannot read trace " + name + ": " + error.what());
  }
}

}  // namespace kvferry
